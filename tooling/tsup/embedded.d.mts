import type { Plugin } from "esbuild";

export const asText: Plugin;
export const noTests: Plugin;
export const embedded: { name: string; enforce: "pre"; load(id: string): Promise<string | undefined> };
