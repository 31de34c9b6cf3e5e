import { readFileSync } from "node:fs";
import { JambaError, TokenizerError } from "@jamba/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { GgufValue } from "./header.ts";
import { ggufTokenizer } from "./tokenizer.ts";

type Changes = Record<string, GgufValue | undefined>;

const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
const special = ["<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|unk|>", "<|bom|>", ","];
const pieces = ["▁a", "▁▁", "ab", "▁ab", "▁▁▁", "▁", "a", "b", "🎉", "🎉b"];
const tokens = [...special, ...bytes, ...pieces];
const types = [3, 3, 3, 2, 4, 4, ...bytes.map(() => 6), ...pieces.map(() => 1)];

function read(changes: Changes = {}) {
  const entries: Changes = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.scores": Float32Array.from(tokens, (_, id) => -id),
    "tokenizer.ggml.token_type": Int32Array.from(types),
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 3,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.ggml.add_bos_token": true,
    "tokenizer.ggml.add_space_prefix": false,
    ...changes,
  };
  return ggufTokenizer(new Map(Object.entries(entries).filter((entry): entry is [string, GgufValue] => entry[1] !== undefined)));
}

interface TokenizerJson {
  added_tokens: { id: number; content: string; special: boolean }[];
  normalizer: unknown;
  decoder: unknown;
  model: { vocab: Record<string, number>; merges: [string, string][]; unk_token: string | null; byte_fallback: boolean };
}
const json = (changes?: Changes) => read(changes)!.tokenizer as unknown as TokenizerJson;
const merges = (changes?: Changes) => json(changes).model.merges.map((pair) => pair.join(" "));
const added = (changes?: Changes) => json(changes).added_tokens.map(({ content, special }) => [content, special]);
const same = (value: number) => new Float32Array(tokens.length).fill(value);

describe("merges", () => {
  // ▁a, ▁▁, ab, ▁ab from two sides, ▁▁▁ from two sides, 🎉b; halves of a character make none.
  const learnt = ["▁ a", "▁ ▁", "a b", "▁a b", "▁ ab", "▁▁ ▁", "▁ ▁▁", "🎉 b"];

  it("are all splits of all pieces, by score and then by the ids of the parts", () => {
    expect(merges()).toEqual(learnt);
    // Turned scores turn the pieces, not the splits of one piece.
    const turned = Float32Array.from(tokens, (_, id) => id);
    expect(merges({ "tokenizer.ggml.scores": turned })).toEqual(["🎉 b", "▁▁ ▁", "▁ ▁▁", "▁a b", "▁ ab", "a b", "▁ ▁", "▁ a"]);
  });

  it("put runs of spaces last and the rest in the order of ids, when all scores are the same or there are none", () => {
    const ordered = ["▁ a", "a b", "▁a b", "▁ ab", "🎉 b", "▁▁ ▁", "▁ ▁▁", "▁ ▁"];
    expect(merges({ "tokenizer.ggml.scores": same(-1000) })).toEqual(ordered);
    expect(merges({ "tokenizer.ggml.scores": same(0) })).toEqual(ordered);
    expect(merges({ "tokenizer.ggml.scores": undefined })).toEqual(ordered);
    const onlyNormal = Float32Array.from(types, (type, id) => (type === 1 ? -1000 : -id));
    expect(merges({ "tokenizer.ggml.scores": onlyNormal })).toEqual(ordered);
  });

  it("make no token but normal ones", () => {
    const userDefined = types.with(tokens.indexOf("ab"), 4).with(tokens.indexOf("▁▁"), 5);
    expect(merges({ "tokenizer.ggml.token_type": userDefined })).toEqual(learnt.filter((pair) => pair !== "a b" && pair !== "▁ ▁"));
  });

  it("of the file go before any that scores would give", () => {
    expect(read({ "tokenizer.ggml.merges": ["▁ a", "a b"] })!.tokenizer).toMatchObject({ model: { merges: ["▁ a", "a b"] } });
  });

  it("split texts as scores do", () => {
    const alphabet = ["a", "b", "c"];
    const piece = fc.string({ unit: fc.constantFrom(...alphabet), minLength: 2, maxLength: 5 });
    const text = fc.string({ unit: fc.constantFrom(...alphabet), maxLength: 20 });
    fc.assert(
      fc.property(
        fc.uniqueArray(piece, { minLength: 2, maxLength: 30 }),
        fc.infiniteStream(fc.integer({ min: -9, max: 9 })),
        text,
        (some, numbers, words) => {
          const vocabulary = [...alphabet, ...some];
          const scores = vocabulary.map(() => numbers.next().value!);
          fc.pre(new Set(scores).size > 1);
          const given = {
            "tokenizer.ggml.tokens": vocabulary,
            "tokenizer.ggml.scores": scores,
            "tokenizer.ggml.token_type": vocabulary.map(() => 1),
          };
          const ids = { "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 0, "tokenizer.ggml.unknown_token_id": 0 };
          const ranks = new Map(merges({ ...given, ...ids, "tokenizer.ggml.padding_token_id": 0 }).map((pair, rank) => [pair, rank]));
          const byRank = split(words, (left, right) => [ranks.get(`${left} ${right}`) ?? Number.POSITIVE_INFINITY]);
          const byScore = split(words, (left, right) => {
            const id = vocabulary.indexOf(left + right);
            return [id < 0 ? Number.POSITIVE_INFINITY : -scores[id], vocabulary.indexOf(left), vocabulary.indexOf(right)];
          });
          expect(byRank).toEqual(byScore);
        },
      ),
      { seed: 1, numRuns: 2000 },
    );
  });
});

/** BPE: the best pair of neighbours becomes one, the leftmost of equals, until none may. */
function split(text: string, order: (left: string, right: string) => number[]): string[] {
  const parts = [...text];
  for (;;) {
    const pairs = parts.slice(1).map((right, at) => ({ at, order: order(parts[at], right) }));
    const [best] = pairs.sort(
      (a, b) => a.order.map((value, i) => (value === b.order[i] ? 0 : value - b.order[i])).find((sign) => sign !== 0) ?? a.at - b.at,
    );
    if (!best || best.order[0] === Number.POSITIVE_INFINITY) return parts;
    parts.splice(best.at, 2, parts[best.at] + parts[best.at + 1]);
  }
}

describe("added tokens", () => {
  const all = [
    ["<|pad|>", true],
    ["<|startoftext|>", true],
    ["<|endoftext|>", true],
    ["<|unk|>", true],
    ["<|bom|>", true],
    [",", false],
  ];

  it("are the control, unknown and user-defined ones, not bytes; a comma stays text", () => {
    expect(added()).toEqual(all);
    const bytesToo = types.map((type) => (type === 6 ? 3 : type));
    expect(added({ "tokenizer.ggml.token_type": bytesToo })).toEqual(all);
  });

  it("are also those that no merge makes, when scores are the same and types may be a guess", () => {
    const guessed = types.map((type, id) => (type === 4 || id === 0 ? 1 : type));
    const constant = { "tokenizer.ggml.scores": same(-1000) };
    expect(added({ ...constant, "tokenizer.ggml.token_type": guessed })).toEqual(all.slice(0, 5));
    expect(added({ ...constant, "tokenizer.ggml.token_type": undefined })).toEqual(all.slice(0, 5));
    // Where scores are true, so are types, unless a token can't be text.
    const real = types.map((type) => (type === 4 ? 1 : type));
    expect(added({ "tokenizer.ggml.token_type": real })).toEqual(all.slice(0, 5));
  });
});

describe("the files that a GGUF file stands for", () => {
  it("are those of the small model", () => {
    const folder = new URL("../../../tiny-model/", import.meta.url);
    const original = JSON.parse(readFileSync(new URL("tokenizer.json", folder), "utf8")) as TokenizerJson;
    const config = JSON.parse(readFileSync(new URL("tokenizer_config.json", folder), "utf8"));
    const names = Object.keys(original.model.vocab).sort((a, b) => original.model.vocab[a] - original.model.vocab[b]);
    const isAdded = new Set(original.added_tokens.map(({ content }) => content));
    const id = (token: string) => original.model.vocab[token];
    const found = read({
      "tokenizer.ggml.tokens": names,
      "tokenizer.ggml.scores": undefined,
      "tokenizer.ggml.token_type": names.map((name) => (isAdded.has(name) ? 3 : bytes.includes(name) ? 6 : 1)),
      "tokenizer.ggml.merges": original.model.merges.map((pair) => [pair].flat().join(" ")),
      "tokenizer.ggml.bos_token_id": id(config.bos_token),
      "tokenizer.ggml.eos_token_id": id(config.eos_token),
      "tokenizer.ggml.unknown_token_id": id(config.unk_token),
      "tokenizer.ggml.padding_token_id": id(config.pad_token),
      "tokenizer.chat_template": config.chat_template,
    })!;
    const { added_tokens, normalizer, decoder, model } = found.tokenizer as unknown as TokenizerJson;
    expect(added_tokens).toEqual(original.added_tokens);
    expect([normalizer, decoder, model.vocab]).toEqual([original.normalizer, original.decoder, original.model.vocab]);
    expect(model.merges).toEqual(original.model.merges.map((pair) => [pair].flat().join(" ")));
    expect([model.unk_token, model.byte_fallback]).toEqual(["<|unk|>", true]);
    for (const [key, expected] of Object.entries(found.tokenizerConfig)) expect([key, expected]).toEqual([key, config[key]]);
  });

  it("say how a text begins", () => {
    const prefix = { type: "Prepend", prepend: "▁" };
    expect(json().normalizer).toMatchObject({ type: "Replace" });
    expect(json({ "tokenizer.ggml.add_space_prefix": undefined }).normalizer).toMatchObject({ type: "Replace" });
    expect(json({ "tokenizer.ggml.add_space_prefix": true }).normalizer).toMatchObject({ normalizers: [prefix, { type: "Replace" }] });
    expect(json({ "tokenizer.ggml.add_space_prefix": true }).decoder).toMatchObject({
      decoders: [{}, {}, {}, { type: "Strip", start: 1 }],
    });
    expect(read({ "tokenizer.ggml.add_bos_token": false })!.tokenizerConfig.add_bos_token).toBe(false);
    expect(read({ "tokenizer.ggml.add_bos_token": undefined })!.tokenizerConfig).toMatchObject({
      add_bos_token: true,
      bos_token: "<|startoftext|>",
    });
    expect(read({ "tokenizer.ggml.bos_token_id": undefined })!.tokenizerConfig.bos_token).toBeUndefined();
  });

  it("have an unknown token where one is marked, and no bytes where there are none", () => {
    expect(json({ "tokenizer.ggml.unknown_token_id": undefined }).model.unk_token).toBe("<|unk|>");
    const plain = json({
      ...{ "tokenizer.ggml.tokens": ["a", "b", "c", "ab"], "tokenizer.ggml.token_type": [1, 1, 1, 1], "tokenizer.ggml.scores": undefined },
      "tokenizer.ggml.unknown_token_id": undefined,
    });
    expect([plain.model.unk_token, plain.model.byte_fallback]).toEqual([null, false]);
  });

  it("have one template, or several with names", () => {
    const template = (changes: Changes) => read(changes)!.tokenizerConfig.chat_template;
    const [main, tools] = ["tokenizer.chat_template", "tokenizer.chat_template.tool_use"];
    expect(template({})).toBeUndefined();
    expect(template({ [main]: "A" })).toBe("A");
    const both = [
      { name: "default", template: "A" },
      { name: "tool_use", template: "B" },
    ];
    expect(template({ [main]: "A", [tools]: "B", "tokenizer.chat_templates": ["tool_use"] })).toEqual(both);
    expect(template({ [tools]: "B" })).toEqual(both.slice(1));
    expect(template({ [main]: "A", [`${main}.default`]: "C", [tools]: "B" })).toEqual(both);
  });

  it("keep tokens that JavaScript has other plans for", () => {
    const names = ["__proto__", "constructor", "7", "a", "ab", "b"];
    const { vocab, merges } = json({
      "tokenizer.ggml.tokens": names,
      "tokenizer.ggml.token_type": names.map(() => 1),
      "tokenizer.ggml.scores": undefined,
    }).model;
    expect(Object.entries(vocab).sort((a, b) => a[1] - b[1])).toEqual(names.map((name, id) => [name, id]));
    expect(merges).toEqual([["a", "b"]]);
  });
});

describe("a vocabulary is refused", () => {
  it("for none at all with undefined", () => {
    for (const model of [undefined, "none", "no_vocab"]) expect(read({ "tokenizer.ggml.model": model })).toBeUndefined();
  });

  it.each<[string, GgufValue]>([
    ["gpt2", "gpt2"],
    ["t5", "t5"],
    ["a number", 1],
  ])("as unsupported when it is %s", (_, model) => {
    const error = expect.objectContaining({
      code: "UNSUPPORTED",
      message: expect.stringContaining('tokenizer.ggml.model: expected "llama"'),
    });
    expect(() => read({ "tokenizer.ggml.model": model })).toThrow(error);
    expect(() => read({ "tokenizer.ggml.model": model })).toThrow(JambaError);
  });

  const key = (name: string) => `tokenizer.ggml.${name}`;
  it.each<[string, Changes, RegExp]>([
    ["no tokens", { [key("tokens")]: undefined }, /tokens: expected a list of texts, found none/],
    ["tokens that are numbers", { [key("tokens")]: [1, 2] }, /tokens: expected a list of texts, found a list of 2/],
    ["a long token", { [key("tokens")]: tokens.with(5, "x".repeat(129)) }, /at most 128 characters/],
    [
      "many long tokens",
      { [key("tokens")]: Array.from({ length: 17_000 }, (_, i) => `${i}`.padStart(128)) },
      /at most 2097152 characters in all, found 2176000/,
    ],
    ["too few scores", { [key("scores")]: [1, 2] }, /scores: expected a number for each of 272 tokens, found a list of 2/],
    ["scores that are none", { [key("scores")]: same(Number.NaN) }, /scores: expected a number for each/],
    ["scores in words", { [key("scores")]: tokens }, /scores: expected a number for each/],
    ["one type for all", { [key("token_type")]: 1 }, /token_type: expected a number for each of 272 tokens, found 1/],
    ["merges that are numbers", { [key("merges")]: [1] }, /merges: expected a list of texts/],
    ["an id beyond the end", { [key("eos_token_id")]: 272 }, /eos_token_id: expected an id below 272, found 272/],
    ["half an id", { [key("bos_token_id")]: 0.5 }, /bos_token_id: expected an id below 272, found 0\.5/],
    ["an end beyond the end", { [key("bos_token_id")]: 2 ** 31 }, /bos_token_id: expected an id below 272, found 2147483648/],
    ["a padding id that is half a one", { [key("padding_token_id")]: 1.5 }, /padding_token_id: expected an id below 272, found 1\.5/],
    ["an id in words", { [key("unknown_token_id")]: "length" }, /unknown_token_id: expected an id below 272, found "length"/],
    ["a number for yes", { [key("add_bos_token")]: 1 }, /add_bos_token: expected true or false, found 1/],
    ["a template that is none", { "tokenizer.chat_template": 5 }, /chat_template "default": expected a text, found 5/],
  ])("with %s", (_, changes, message) => {
    expect(() => read(changes)).toThrow(TokenizerError);
    expect(() => read(changes)).toThrow(message);
  });
});

describe("of two equal tokens", () => {
  it.each([1, 4, 5])("that of control counts, not a later one of type %i", (other) => {
    const more = {
      "tokenizer.ggml.tokens": [...tokens, "<|startoftext|>"],
      "tokenizer.ggml.token_type": Int32Array.from([...types, other]),
      "tokenizer.ggml.scores": undefined,
    };
    expect(json(more).model.vocab["<|startoftext|>"]).toBe(1);
    expect(
      json(more)
        .added_tokens.filter(({ content }) => content === "<|startoftext|>")
        .map(({ id }) => id),
    ).toEqual([1]);
  });
});
