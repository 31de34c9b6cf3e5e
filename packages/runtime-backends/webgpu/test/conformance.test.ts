import { type SuiteOptions, testOps } from "@jamba/conformance";
import { afterAll, describe } from "vitest";
import { openWebGpuBackend, type WebGpuOptions } from "../src/index.ts";
import { requestDevice } from "../src/open.ts";
import { onAdapter } from "./adapter.ts";

type Dtypes = NonNullable<SuiteOptions["dtypes"]>;
const isWhole = !!process.env.JAMBA_WEBGPU_ALL;
/** What a processor has time for in every run; engines.mjs takes all. */
const some = (dtypes: Dtypes) => (isWhole ? undefined : dtypes);
/** Each matrix is in hundreds of parts then, and each part a dispatch of full tiles. */
const long = { reason: "takes half a minute in bindings of 512 bytes: engines.mjs runs it", cases: [/experts: (5|17) tokens, 2 of 16/] };
const without = ["packed_4x8_integer_dot_product"] as const;
const ways: readonly (readonly [name: string, options: WebGpuOptions, suite: Omit<SuiteOptions, "open">])[] = [
  ["as it is", {}, { dtypes: some(["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"]) }],
  ["in bindings of 512 bytes", { mostBindingBytes: 512 }, { dtypes: some(["f32"]), skip: isWhole ? [] : [long] }],
  ["in bindings of 128 MiB, without dot products of bytes", { mostBindingBytes: 2 ** 27, without }, { dtypes: some(["f32"]) }],
];

onAdapter(({ gpu }) => {
  // One for all, since kernels are compiled for a device, which takes an adapter in software longer than to run them.
  const device = requestDevice({ gpu });
  afterAll(async () => (await device).destroy());
  for (const [name, options, suite] of ways)
    describe(name, () => testOps({ ...suite, open: async () => openWebGpuBackend({ gpu, device: await device, ...options }) }));
});
