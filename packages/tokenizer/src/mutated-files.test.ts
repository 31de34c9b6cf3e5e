// Damaged tokenizer.json files end in a tokenizer that works or in a typed error.

import { readFileSync } from "node:fs";
import { TokenizerError } from "@jamba/core";
import { expect, test } from "vitest";
import { loadTokenizer } from "./tokenizer.ts";

/** The small model's tokenizer with 400 of its 2,048 tokens: the same parts, quicker to read. */
function smallFile() {
  const file = JSON.parse(readFileSync(new URL("../../tiny-model/tokenizer.json", import.meta.url), "utf8"));
  const vocab = Object.fromEntries(Object.entries<number>(file.model.vocab).filter(([, id]) => id < 400));
  const merges = file.model.merges.filter((merge: string | string[]) => {
    const [left, right] = typeof merge === "string" ? merge.split(" ") : merge;
    return left in vocab && right in vocab && left + right in vocab;
  });
  return { ...file, model: { ...file.model, vocab, merges } };
}

function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 0) / 2 ** 32;
  };
}

const growing = (count: number) => ({
  type: "Sequence",
  normalizers: Array.from({ length: count }, () => ({ type: "Replace", pattern: { String: "a" }, content: "aa" })),
});

function nested(depth: number): unknown {
  let part: unknown = { type: "Prepend", prepend: "▁" };
  for (let i = 0; i < depth; i++) part = { type: "Sequence", normalizers: [part] };
  return part;
}

function useOrRefuse(json: unknown, config?: unknown): boolean {
  try {
    const tokenizer = loadTokenizer(json, config);
    tokenizer.decode(tokenizer.encode("Hi 🎉<|eom|>"));
    tokenizer.renderChat([{ role: "user", content: "Hi" }]);
    return true;
  } catch (error) {
    if (!(error instanceof TokenizerError)) throw error;
    return false;
  }
}

test("8,000 files with flipped, cut and doubled bytes", () => {
  const text = JSON.stringify(smallFile());
  const next = random(1);
  const at = () => Math.floor(next() * text.length);
  const count = { used: 0, refused: 0, notJson: 0 };
  for (let i = 0; i < 8000; i++) {
    const [a, b] = [at(), Math.floor(next() * 12)];
    const replaced = String.fromCharCode(32 + Math.floor(next() * 95));
    const mutated = [
      text.slice(0, a) + replaced + text.slice(a + 1),
      text.slice(0, a) + text.slice(a + b),
      text.slice(0, a) + text.slice(a, a + b) + text.slice(a),
    ][i % 3];
    let json: unknown;
    try {
      json = JSON.parse(mutated);
    } catch {
      count.notJson++;
      continue;
    }
    useOrRefuse(json) ? count.used++ : count.refused++;
  }
  expect(count.used + count.refused).toBeGreaterThan(2000);
  expect(count.refused).toBeGreaterThan(100);
});

test("3,000 files with a value of the wrong kind somewhere", () => {
  const next = random(2);
  const values = [
    null,
    -1,
    1e12,
    2 ** 31,
    0.5,
    "",
    "x",
    [],
    {},
    true,
    [["a", "b", "c"]],
    { type: "Regex" },
    { Regex: "(a+)+$" },
    "__proto__",
  ];
  let refused = 0;
  const source = JSON.stringify(smallFile());
  for (let i = 0; i < 3000; i++) {
    const json = JSON.parse(source);
    let parent = json;
    // Walks down to some node, at most five deep, and replaces a child of it.
    for (let depth = Math.floor(next() * 5); depth > 0; depth--) {
      const inner = Object.values(parent).filter((v) => typeof v === "object" && v !== null);
      if (inner.length === 0) break;
      parent = inner[Math.floor(next() * inner.length)] as typeof json;
    }
    const keys = Object.keys(parent);
    if (keys.length > 0) parent[keys[Math.floor(next() * keys.length)]] = values[Math.floor(next() * values.length)];
    if (!useOrRefuse(json)) refused++;
  }
  expect(refused).toBeGreaterThan(500);
});

test.each<[string, (file: ReturnType<typeof smallFile>) => unknown, RegExp]>([
  ["an id that would need gigabytes", (f) => (f.model.vocab.x = 1e9), /model\.vocab: id of "x"/],
  ["one id for two tokens", (f) => (f.model.vocab.x = 5), /id 5: expected one token/],
  ["a regular expression", (f) => (f.normalizer.pattern = { Regex: "(a+)+$" }), /normalizer\.pattern/],
  ["a pre-tokenizer of another family", (f) => (f.pre_tokenizer = { type: "ByteLevel" }), /pre_tokenizer\.type/],
  ["another model", (f) => (f.model.type = "Unigram"), /model\.type: expected "BPE"/],
  ["merges of three", (f) => (f.model.merges[0] = ["a", "b", "c"]), /model\.merges\[0\]/],
  ["no vocabulary", (f) => delete f.model.vocab, /model\.vocab/],
  ["an unknown token that isn't there", (f) => (f.model.unk_token = "nope"), /unk_token/],
  ["an unknown token in an array", (f) => (f.model.unk_token = ["<|unk|>"]), /unk_token/],
  ["one token with two ids", (f) => f.added_tokens.push({ id: 5000, content: "<|eom|>" }), /id of "<\|eom\|>": expected the one/],
  ["a merge that makes no token", (f) => f.model.merges.push(["q", "q"]), /model\.merges\[\d+\]: expected tokens/],
  ["no merges", (f) => delete f.model.merges, /model\.merges/],
  ["half a character as a token", (f) => f.added_tokens.push({ id: 5000, content: "\uD83C" }), /whole characters/],
  ["a token for whole words only", (f) => (f.added_tokens[0].single_word = true), /single_word/],
  ["affixes", (f) => (f.model.end_of_word_suffix = "</w>"), /end_of_word_suffix/],
  ["random merges", (f) => (f.model.dropout = 0.1), /dropout/],
  ["no decoder", (f) => (f.decoder = null), /decoder/],
  ["a decoder of another family", (f) => (f.decoder = { type: "ByteLevel" }), /decoder\.type/],
  ["a replacement of nothing", (f) => (f.normalizer.pattern = { String: "" }), /normalizer\.pattern\.String/],
  ["parts that grow a text without bound", (f) => (f.normalizer = growing(40)), /normalizer.*lengthen/],
  ["parts that nest without bound", (f) => (f.normalizer = nested(100_000)), /normalizer.*levels/],
  ["an array that nests without bound", (f) => (f.normalizer = JSON.parse("[".repeat(1e5) + "]".repeat(1e5))), /normalizer/],
])("%s is refused, naming the part", (_, spoil, message) => {
  const file = smallFile();
  spoil(file);
  expect(() => loadTokenizer(file)).toThrow(expect.objectContaining({ code: "TOKENIZER", message: expect.stringMatching(message) }));
});

test.each([[7], ["x"], [[]], [null]])("a tokenizer_config.json of %j is refused", (config) => {
  expect(() => loadTokenizer(smallFile(), config)).toThrow(TokenizerError);
});

test("a chat template that does not parse or refuses is a typed error", () => {
  for (const chat_template of ["{% for", "{{ raise_exception('no') }}", "{{ 1 | nothing }}"]) {
    const tokenizer = loadTokenizer(smallFile(), { chat_template });
    expect(() => tokenizer.renderChat([{ role: "user", content: "Hi" }])).toThrow(TokenizerError);
  }
});
