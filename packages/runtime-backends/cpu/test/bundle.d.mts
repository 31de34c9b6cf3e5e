export const folder: string;
export const root: string;
export function bundle(contents: string, outfile: string): Promise<void>;
