// Every block format that a GGUF file may hold: the logits of llama.cpp, from the same random blocks.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomBlocks } from "@jamba/conformance";
import { type BlockDtype, blockFormats, decodeStored, toF16 } from "@jamba/core";
import { openFile, parseGgufHeader, placeGguf, quantize } from "@jamba/loader";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { loadModel } from "../src/index.ts";
import { cpuAbsent } from "./golden.ts";
import { type Answer, askLlama, vocabularyOf, wideModel } from "./llama-cpp.ts";

const probe = await askLlama([]);
const absent = cpuAbsent ?? (probe.release === undefined ? `llama.cpp can't be used here: ${probe.trouble}` : undefined);

/**
 * The largest difference of logits, root mean square over root mean square: about one and a half times what was measured at avx512bf16,
 * avx2 and portable. Both sides
 * round activations to 8 bits, llama.cpp by 256 for K formats and iq4_xs, each in its own place; random weights make that grow.
 * Where a format has minima, random ones are large and the same for all, so that little of the error is left beside them.
 */
const bounds: Readonly<Record<BlockDtype, number>> = {
  q4_0: 2.8e-2,
  q4_1: 3.6e-4,
  q5_0: 7e-2,
  q5_1: 7.7e-4,
  q8_0: 7.3e-2,
  q2_k: 5.3e-3,
  q3_k: 0.1,
  q4_k: 3.4e-4,
  q5_k: 4.8e-4,
  q6_k: 9.8e-2,
  iq4_nl: 5e-2,
  iq4_xs: 8.4e-2,
};
const dtypes = Object.keys(bounds) as BlockDtype[];
const ids = Array.from({ length: 40 }, (_, i) => (7 * i + 1) % 64);

let folder: string;
let answers: Answer[] = [];
let trouble = "";
const fileOf = (dtype: BlockDtype) => join(folder, `${dtype}.gguf`);

/** The file `exact` with random blocks for all matrices whose rows are whole blocks, about as large as weights are. */
async function writeBlocks(exact: string, dtype: BlockDtype): Promise<void> {
  const source = await openFile(exact);
  const { metadata, tensors } = await parseGgufHeader(source).finally(() => source.close());
  const decoded = decodeStored(randomBlocks(dtype, 64, 1, toF16(1)), dtype);
  const rms = Math.sqrt(decoded.reduce((sum, v) => sum + v * v, 0) / decoded.length);
  const all = [...tensors.values()].map((tensor) => {
    const isMatrix = tensor.shape.length > 1 && !/ssm_conv1d|ssm_a|ffn_gate_inp/.test(tensor.name);
    const fits = isMatrix && tensor.shape.at(-1)! % blockFormats[dtype].values === 0;
    return { ...tensor, dtype: fits ? dtype : tensor.dtype!, blocks: fits };
  });
  const { header, offsets, sizeBytes } = placeGguf(metadata, all);
  const bytes = new Uint8Array(sizeBytes);
  bytes.set(header);
  const whole = await readFile(exact);
  for (const [i, { shape, offset, sizeBytes, blocks }] of all.entries()) {
    const count = shape.reduce((a, b) => a * b, 1) / blockFormats[dtype].values;
    bytes.set(blocks ? randomBlocks(dtype, count, i + 2, toF16(0.05 / rms)) : whole.subarray(offset, offset + sizeBytes), offsets[i]);
  }
  await writeFile(fileOf(dtype), bytes);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "stored-types-"));
  if (absent !== undefined) return;
  const exact = join(folder, "exact.gguf");
  await quantize({ ...wideModel(), gguf: vocabularyOf(64) }, exact, { dtype: "f32" });
  for (const dtype of dtypes) await writeBlocks(exact, dtype);
  ({ answers, trouble } = await askLlama(dtypes.map((dtype) => ({ file: fileOf(dtype), ids, steps: 1, texts: [] }))));
}, 120_000);
afterAll(() => rm(folder, { recursive: true }));

describe("logits from blocks of", () => {
  beforeEach(({ skip }) => {
    if (absent !== undefined) skip(absent);
  });

  test.each([...dtypes.entries()])("%i %s", async (i, dtype) => {
    expect(answers[i], trouble).toBeDefined();
    const theirs = answers[i].logits.flat();
    await using model = await loadModel(fileOf(dtype), { kvDtype: "f32" });
    expect(model.dtypes[0]).toMatch(/^q/); // never opened to floats
    const { logits, state } = await model.forward(ids, { logits: "all" });
    state.dispose();
    const ours = logits.data as Float32Array;
    const power = theirs.reduce((sum, v) => sum + v * v, 0);
    const error = Math.sqrt(theirs.reduce((sum, v, j) => sum + (v - ours[j]) ** 2, 0) / power);
    expect(error).toBeLessThanOrEqual(bounds[dtype]);
  });
});
