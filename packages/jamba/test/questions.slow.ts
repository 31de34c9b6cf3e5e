// The small model's questions, all of them, on the kernels of every door: as many are answered rightly as the published accuracy wants.

import { setFlagsFromString } from "node:v8";
import { openCpuBackend, openWasmBackend } from "@jamba/backend-cpu";
import { JambaError } from "@jamba/core";
import { describe, expect, test } from "vitest";
import { isFit, passes, questions, scores } from "../../../tooling/tiny-model/questions.mjs";
import { loadModel } from "../src/index.ts";

// Before anything is validated.
if (process.version.startsWith("v20.")) setFlagsFromString("--experimental-wasm-relaxed-simd");

const backends = {
  "the native kernels": () => openCpuBackend(),
  "the module simd128": () => openWasmBackend({ level: "simd128" }),
  "the module relaxed": () => openWasmBackend({ level: "relaxed" }),
  "the module relaxed-dot": () => openWasmBackend({ level: "relaxed-dot" }),
};

describe.each(Object.entries(backends))("%s", (_, open) => {
  test.for(["f32", "q8", "q4"] as const)("answers as it must with weights in %s", async (dtype, { skip }) => {
    const backend = await open().catch((error) => {
      if (error instanceof JambaError) skip(error.message);
      throw error;
    });
    const model = await loadModel("tiny", { dtype, backend });
    const answers = await Promise.all(
      questions.map(async (question) => {
        const { prompt, messages, task, maxTokens, tools, documents, knobs } = question;
        const { text } = await model.generate(prompt ?? messages!, { maxTokens, temperature: 0, tools, documents, knobs });
        return { task, passed: passes(question, text) };
      }),
    );
    const all = scores(answers);
    // biome-ignore lint/suspicious/noConsole: figures for tooling/tiny-model/README.md
    console.log(`${dtype}: ${all.map(({ task, found }) => `${task} ${found.toFixed(4)}`).join(", ")}`);
    expect(isFit(dtype, all), JSON.stringify(all)).toBe(true);
    await model.dispose();
    await backend.dispose();
  });
});
