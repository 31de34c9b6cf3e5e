export const native: string;
export function modules(): { name: string; stem: string; defines: Record<string, string> }[];
export function paramsOf(stem: string): { name: string; type: string }[];
export function hashOf(text: string): string;
export function sourcesOf(): Record<string, string>;
