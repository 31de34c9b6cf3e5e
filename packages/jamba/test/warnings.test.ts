// What was passed over or taken otherwise than written is told: in `model.warnings`, and to whoever listens.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type GgufValue, openFile, parseGgufHeader, placeGguf, quantize } from "@jamba/loader";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { loadModel } from "../src/index.ts";

const tiny = fileURLToPath(new URL("../../tiny-model", import.meta.url));
let folder: string;
let plain: string;
let file: string;

/** A GGUF file with other metadata. */
async function changed(path: string, out: string, change: (gguf: Map<string, GgufValue>) => void): Promise<string> {
  const source = await openFile(path);
  const { metadata, tensors } = await parseGgufHeader(source);
  const gguf = new Map(metadata);
  change(gguf);
  const listed = [...tensors.values()].map(({ name, dtype, shape, offset, sizeBytes }) => ({
    name,
    dtype: dtype!,
    shape,
    offset,
    sizeBytes,
  }));
  const { header, offsets, sizeBytes } = placeGguf(gguf, listed);
  const bytes = new Uint8Array(sizeBytes);
  bytes.set(header);
  for (const [i, tensor] of listed.entries()) bytes.set(await source.read(tensor.offset, tensor.sizeBytes), offsets[i]);
  await source.close();
  await writeFile(out, bytes);
  return out;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "warnings-"));
  plain = join(folder, "plain.gguf");
  await quantize(tiny, plain, { dtype: "bf16" });
  file = await changed(plain, join(folder, "changed.gguf"), (gguf) => {
    const tokens = [...(gguf.get("tokenizer.ggml.tokens") as string[])];
    const types = Int32Array.from(gguf.get("tokenizer.ggml.token_type") as Int32Array);
    for (const token of ["<|eom|>", "<|bom|>", "<|user|>"]) types[tokens.indexOf(token)] = 1;
    gguf.set("tokenizer.ggml.token_type", types);
    gguf.set("tokenizer.ggml.padding_token_id", tokens.length);
  });
});
afterAll(() => rm(folder, { recursive: true }));

const messages = [{ role: "user", content: "Where does Ines live?" }] as const;

test("a file whose control tokens have the type of text is asked the same, and answers the same", async () => {
  const heard: string[] = [];
  await using model = await loadModel(file, { onWarning: (warning) => heard.push(warning) });
  await using right = await loadModel(plain);
  expect(model.warnings).toEqual([
    expect.stringMatching(/padding_token_id: expected an id below 2048, found 2048; passed over/),
    expect.stringMatching(/token_type: expected control tokens, found "<\|eom\|>", "<\|bom\|>", "<\|user\|>" with the type of plain text/),
  ]);
  expect(heard).toEqual(model.warnings);
  expect(right.warnings).toEqual([]);
  const asked = (of: typeof model) => of.tokenizer.encode(of.tokenizer.renderChat(messages));
  expect(asked(model)).toEqual(asked(right));
  const answer = (of: typeof model) => of.generate(messages, { maxTokens: 24, temperature: 0 });
  const [{ text, finishReason }, expected] = [await answer(model), await answer(right)];
  expect([text, finishReason]).toEqual([expected.text, expected.finishReason]);
});

test("without a listener each warning goes to stderr once", async () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
  try {
    await using model = await loadModel(file);
    expect(warn.mock.calls).toEqual(model.warnings.map((warning) => [warning]));
    expect(model.warnings).toHaveLength(2);
  } finally {
    warn.mockRestore();
  }
});

test("a file that is written from it is right, and its writer is told what was not", async () => {
  const again = join(folder, "again.gguf");
  const { warnings } = await quantize(file, again, { dtype: "bf16" });
  expect(warnings).toEqual([expect.stringContaining("padding_token_id"), expect.stringContaining("token_type")]);
  await using model = await loadModel(again);
  expect(model.warnings).toEqual([]);
});

test("a listener that is none is refused", async () => {
  await expect(loadModel(plain, { onWarning: true as never })).rejects.toMatchObject({ code: "OPTION" });
});
