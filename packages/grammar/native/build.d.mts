export const sources: readonly string[];
export function compilerVersion(): string | undefined;
