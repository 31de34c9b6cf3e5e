import type { Options } from "tsup";

/** ESM with types, for Node 20 and browsers of its age; node: built-ins stay imports. */
export const library: Options = {
  entry: ["src/index.ts"],
  format: ["esm"],
  target: "es2022",
  platform: "neutral",
  external: [/^node:/],
  dts: true,
  clean: true,
  sourcemap: false,
  silent: true,
};
