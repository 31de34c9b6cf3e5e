export const hasCompiler: boolean;
export function sourceHashes(): Record<string, string>;
export function build(level: "simd128" | "relaxed" | "relaxed-dot"): Promise<Uint8Array>;
