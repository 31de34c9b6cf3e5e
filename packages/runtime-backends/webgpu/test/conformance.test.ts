import { type SuiteOptions, testOps } from "@jamba/conformance";
import { describe } from "vitest";
import { openWebGpuBackend, type WebGpuOptions } from "../src/index.ts";
import { onAdapter } from "./adapter.ts";

/** In every dtype as it is; otherwise in some whose blocks differ, all of them for engines.mjs. */
const some = (...dtypes: NonNullable<SuiteOptions["dtypes"]>) => (process.env.JAMBA_WEBGPU_ALL ? undefined : dtypes);
const without = ["subgroups", "shader-f16"] as const;
const ways: readonly (readonly [name: string, options: WebGpuOptions, dtypes?: SuiteOptions["dtypes"]])[] = [
  ["as it is", {}],
  ["in bindings of 512 bytes", { mostBindingBytes: 512 }, some("f32", "bf16", "q4")],
  ["in bindings of 128 MiB, without subgroups and f16", { mostBindingBytes: 2 ** 27, without }, some("f32", "f16", "q8", "q4_k")],
];

onAdapter(({ gpu }) => {
  for (const [name, options, dtypes] of ways) describe(name, () => testOps({ dtypes, open: () => openWebGpuBackend({ gpu, ...options }) }));
});
