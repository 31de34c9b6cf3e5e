// Weights that are no numbers: whoever reads through them hears of it, with the error that an answer ends with.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type NamedTensor, openCheckpoint, writeSafetensors } from "@jamba/loader";
import { describe, expect, test } from "vitest";
import { type JambaModel, loadModel } from "../src/index.ts";
import { cpuAbsent, goldenFolder } from "./golden.ts";

/** A golden's checkpoint with NaN in the tensors whose names have `part`: all of it, or one row. */
async function open(backend: "cpu" | "reference", part: string, row?: number): Promise<JambaModel> {
  await using checkpoint = await openCheckpoint(goldenFolder("base"));
  const tensors: NamedTensor[] = [];
  for (const { name, dtype, shape } of checkpoint.tensors.values()) {
    const bytes = (await checkpoint.read(name)).slice();
    const n = shape.at(-1)!;
    if (name.includes(part)) new Float32Array(bytes.buffer).fill(Number.NaN, row && row * n, row && (row + 1) * n);
    tensors.push({ name, dtype: dtype as NamedTensor["dtype"], shape, bytes });
  }
  const config = readFileSync(join(goldenFolder("base"), "config.json"));
  const files = { "config.json": config, "model.safetensors": writeSafetensors(tensors) };
  const source = Object.entries(files).map(([name, bytes]) => ({ name, blob: new Blob([bytes as BlobPart]) }));
  return loadModel(source, { backend, dtype: "f32" });
}

const refused = { code: "BACKEND", message: expect.stringMatching(/finite/) };
const ids = [7, 8, 9];

describe.each(["cpu", "reference"] as const)("on %s", (backend) => {
  test.skipIf(backend === "cpu" && cpuAbsent).each(["final_layernorm", "layers.0.mamba.D"])(
    "with NaN in %s every way to read ends so, and nothing is held",
    async (part) => {
      await using model = await open(backend, part);
      await expect(model.generate(ids, { maxTokens: 2 })).rejects.toMatchObject(refused);
      await expect(model.generate(ids, { maxTokens: 2, topLogprobs: 2 })).rejects.toMatchObject(refused);
      await expect(model.score(ids, [5])).rejects.toMatchObject(refused);
      await expect(model.score(ids, [[5, 6], [6]], { topLogprobs: 2 })).rejects.toMatchObject(refused);
      await expect(model.forward(ids)).rejects.toMatchObject(refused);
      await expect(model.forward(ids, { hidden: true, logits: "all" })).rejects.toMatchObject(refused);
      model.clearCache();
      expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
    },
  );

  test.skipIf(backend === "cpu" && cpuAbsent)("with NaN for one token that token has no score, and is never drawn", async () => {
    await using model = await open(backend, "lm_head", 7);
    await expect(model.score(ids, [7])).rejects.toMatchObject(refused);
    expect((await model.score(ids, [5])).logprob).toBeLessThan(0);
    expect((await model.generate(ids, { maxTokens: 2 })).ids).not.toContain(7);
  });
});
