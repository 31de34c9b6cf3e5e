// What was passed over or taken otherwise than written is told: in `model.warnings`, and to whoever listens.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type GgufValue, openCheckpoint, quantize } from "@jamba/loader";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { loadModel } from "../src/index.ts";

const tiny = fileURLToPath(new URL("../../tiny-model", import.meta.url));
let folder: string;
let plain: string;
let file: string;

/** The small model as a GGUF file whose metadata was changed. */
async function changed(change: (gguf: Map<string, GgufValue>) => void): Promise<string> {
  await using checkpoint = await openCheckpoint(plain);
  const gguf = new Map(checkpoint.gguf);
  change(gguf);
  const out = join(folder, "changed.gguf");
  await quantize({ ...checkpoint, gguf }, out, { dtype: "bf16" });
  return out;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "warnings-"));
  plain = join(folder, "plain.gguf");
  await quantize(tiny, plain, { dtype: "bf16" });
  file = await changed((gguf) => {
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

test("a listener that is none is refused", async () => {
  await expect(loadModel(plain, { onWarning: true as never })).rejects.toMatchObject({ code: "OPTION" });
});
