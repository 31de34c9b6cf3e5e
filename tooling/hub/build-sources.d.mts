export function buildSource(entry: string, outDir: string): Promise<string>;
