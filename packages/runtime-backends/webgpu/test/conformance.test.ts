import { type SuiteOptions, testOps } from "@jamba/conformance";
import { describe } from "vitest";
import { openWebGpuBackend, type WebGpuOptions } from "../src/index.ts";
import { adapter, onAdapter } from "./adapter.ts";

type Dtypes = NonNullable<SuiteOptions["dtypes"]>;
/** All for engines.mjs; SwiftShader takes several times as long as lavapipe. */
const some = (usual?: Dtypes, brief: Dtypes = ["f32"]) => {
  if (process.env.JAMBA_WEBGPU_ALL) return undefined;
  return typeof adapter === "object" && adapter.name === "swiftshader" ? brief : usual;
};
const without = ["subgroups", "shader-f16"] as const;
const ways: readonly (readonly [name: string, options: WebGpuOptions, dtypes?: Dtypes])[] = [
  ["as it is", {}, some(undefined, ["f32", "bf16", "q8", "q4"])],
  ["in bindings of 512 bytes", { mostBindingBytes: 512 }, some(["f32", "q4"])],
  ["in bindings of 128 MiB, without subgroups and f16", { mostBindingBytes: 2 ** 27, without }, some(["f32", "q8"])],
];

onAdapter(({ gpu }) => {
  for (const [name, options, dtypes] of ways) describe(name, () => testOps({ dtypes, open: () => openWebGpuBackend({ gpu, ...options }) }));
});
