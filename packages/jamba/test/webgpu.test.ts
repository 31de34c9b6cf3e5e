// Whole models on WebGPU: goldens, the small model's texts, and what happens where the device goes.

import { openWebGpuBackend, type WebGpuOptions } from "@jamba/backend-webgpu";
import type { Backend } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type FoundAdapter, findAdapter } from "../../../tooling/software-gpu/src/adapter.ts";
import { loadModel } from "../src/index.ts";
import { type GoldenCase, goldenCases } from "./golden.ts";
import { expectGolden, referenceTexts, textsOf } from "./on-gpu.ts";

const ways: readonly (readonly [name: string, options: WebGpuOptions])[] = [
  ["as it is", {}],
  ["in bindings of 512 bytes", { mostBindingBytes: 512 }],
  ["in bindings of 128 MiB, without dot products of bytes", { mostBindingBytes: 2 ** 27, without: ["packed_4x8_integer_dot_product"] }],
];

/** Of adapters in software. */
const onWarning = () => undefined;

const found = await findAdapter();
if (typeof found === "string") test("models on WebGPU", ({ skip }) => skip(found));
else describe.each(ways)(`${found.name}, %s`, (_, options) => testModels(found, options));

function testModels({ gpu }: FoundAdapter, options: WebGpuOptions): void {
  // One for all, since each compiles its own kernels. 512 bytes would cut the small model's weights into more buffers than a process may map.
  let backend: Backend;
  let roomy: Backend;
  beforeAll(async () => {
    backend = await openWebGpuBackend({ gpu, ...options });
    const { mostBindingBytes = 2 ** 18 } = options;
    roomy = mostBindingBytes < 2 ** 18 ? await openWebGpuBackend({ gpu, ...options, mostBindingBytes: 2 ** 18 }) : backend;
  });
  afterAll(() => Promise.all([backend.dispose(), roomy.dispose()]));

  // All of them as it is; otherwise the odd ones, and all for engines.mjs.
  const isWhole = Object.keys(options).length === 0 || process.env.JAMBA_WEBGPU_ALL;
  const names: readonly GoldenCase[] = isWhole ? goldenCases : ["base", "odd", "one-token"];
  test.each(names)("golden %s", async (name) => {
    await expectGolden(name, backend);
  });

  test("the small model writes the reference's text", async () => {
    expect(await textsOf(roomy)).toEqual(await referenceTexts());
  });

  if (options.mostBindingBytes === 512)
    test("the small model, which would take too many buffers, is refused and leaves none", async () => {
      const { weightBytes } = backend.memory();
      const refused = { code: "OUT_OF_MEMORY", message: expect.stringMatching(/at most 16384 buffers/) };
      await expect(loadModel("tiny", { backend, dtype: "f32", onWarning })).rejects.toMatchObject(refused);
      expect(backend.memory().weightBytes).toBe(weightBytes);
    });
}
