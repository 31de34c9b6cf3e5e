import { TokenizerError } from "@jamba/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ggufTokenizer } from "./tokenizer.ts";
import { ggufVocabulary } from "./vocabulary.ts";

const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
const special = ["<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|unk|>", "<|eom|>"];
const spaces = { type: "Replace", pattern: { String: " " }, content: "▁" };

/** A tokenizer.json of these pieces and merges. */
function tokenizerOf(pieces: readonly string[], merges: readonly (readonly [string, string])[], more: object = {}) {
  const tokens = [...special, ",", ...bytes, ...pieces];
  return {
    added_tokens: [...special, ","].map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: spaces,
    pre_tokenizer: null,
    model: { type: "BPE", byte_fallback: true, unk_token: "<|unk|>", vocab: Object.fromEntries(tokens.map((t, id) => [t, id])), merges },
    ...more,
  };
}

const config = { bos_token: "<|startoftext|>", eos_token: { content: "<|endoftext|>" }, pad_token: "<|pad|>" };
const first = special.length + 1 + 256;
const room = { nTokens: first + 40, eosIds: [2] };

/** Byte-pair encoding by rank: the least rank first, of equal ones the first in the text. */
function byRank(text: string, merges: readonly (readonly [string, string])[]): string[] {
  const parts = [...text];
  for (;;) {
    let [least, at] = [merges.length, -1];
    for (let i = 1; i < parts.length; i++) {
      const rank = merges.findIndex(([left, right]) => left === parts[i - 1] && right === parts[i]);
      if (rank >= 0 && rank < least) [least, at] = [rank, i];
    }
    if (at < 0) return parts;
    parts.splice(at - 1, 2, parts[at - 1] + parts[at]);
  }
}

/** What engines do that read scores: any two neighbours that form a token, the best score first. */
function byScore(text: string, scores: ReadonlyMap<string, number>): string[] {
  const parts = [...text];
  for (;;) {
    let [best, at] = [Number.NEGATIVE_INFINITY, -1];
    for (let i = 1; i < parts.length; i++) {
      const score = scores.get(parts[i - 1] + parts[i]);
      if (score !== undefined && score > best) [best, at] = [score, i];
    }
    if (at < 0) return parts;
    parts.splice(at - 1, 2, parts[at - 1] + parts[at]);
  }
}

function scoresOf(tokenizer: object): Map<string, number> {
  const { metadata } = ggufVocabulary(tokenizer, config, room);
  const tokens = metadata.get("tokenizer.ggml.tokens") as string[];
  const scores = metadata.get("tokenizer.ggml.scores") as Float32Array;
  return new Map(tokens.slice(first).map((token, i) => [token, scores[first + i]]));
}

describe("scores", () => {
  test("cut every text as the merges do, if every token can be reached", () => {
    // Merges of tokens made before, as training learns them, in an order that is not that of the ids.
    const learnt = fc.array(fc.tuple(fc.nat(), fc.nat()), { minLength: 1, maxLength: 20 }).map((picks) => {
      const pieces = [..."abc▁"];
      const merges: [string, string][] = [];
      for (const [i, j] of picks) {
        const [left, right] = [pieces[i % pieces.length], pieces[j % pieces.length]];
        if (pieces.includes(left + right) || (left + right).length > 12) continue;
        // Learnt from a text that is already cut by the merges before, so that this pair of pieces does occur in texts.
        if (byRank(left + right, merges).join(" ") !== `${left} ${right}`) continue;
        pieces.push(left + right);
        merges.push([left, right]);
      }
      return { pieces, merges };
    });
    const text = fc.array(fc.constantFrom(..."abc▁"), { maxLength: 30 }).map((letters) => letters.join(""));
    fc.assert(
      fc.property(learnt, fc.array(text, { minLength: 5, maxLength: 20 }), ({ pieces, merges }, texts) => {
        const tokenizer = tokenizerOf([...pieces].reverse(), merges);
        expect(ggufVocabulary(tokenizer, config, room).unreachable).toEqual([]);
        const scores = scoresOf(tokenizer);
        for (const text of texts) expect(byScore(text, scores)).toEqual(byRank(text, merges));
      }),
      { numRuns: 300 },
    );
  });

  test("a run of spaces that merges last has the least score, whatever its id", () => {
    const scores = scoresOf(
      tokenizerOf(
        ["▁▁", "▁", "a", "▁a"],
        [
          ["▁", "a"],
          ["▁", "▁"],
        ],
      ),
    );
    expect(byScore("▁▁a", scores)).toEqual(["▁", "▁a"]);
  });

  test("tokens that no merge makes are told, since an engine with scores may make them", () => {
    const merges = [["b", "c"]] as const;
    const { unreachable } = ggufVocabulary(tokenizerOf(["a", "b", "c", "bc", "ab", "abc"], merges), config, room);
    expect(unreachable).toEqual(["ab", "abc"]);
  });
});

describe("the file's other keys", () => {
  const made = tokenizerOf(["▁", "a", "▁a"], [["▁", "a"]]);
  const { metadata } = ggufVocabulary(made, { ...config, chat_template: "{{ x }}" }, room);
  const of = (key: string) => metadata.get(`tokenizer.ggml.${key}`);

  test("types say what is text: a comma that no merge may take is, what is in brackets is not", () => {
    const types = [...(of("token_type") as Int32Array)];
    expect(types.slice(0, 7)).toEqual([3, 3, 3, 2, 3, 4, 6]);
    expect(types.slice(first, first + 4)).toEqual([1, 1, 1, 5]);
    expect((of("tokens") as string[]).slice(first + 2, first + 5)).toEqual(["▁a", `[PAD${first + 3}]`, `[PAD${first + 4}]`]);
  });

  test("ids of special tokens come from the config, the end of a turn from its name", () => {
    expect(["bos", "eos", "unknown", "padding", "eot"].map((name) => of(`${name}_token_id`))).toEqual([1, 2, 3, 0, 4]);
    expect([of("model"), of("add_bos_token"), of("add_eos_token"), of("add_space_prefix")]).toEqual(["llama", true, false, false]);
    expect(metadata.get("tokenizer.chat_template")).toBe("{{ x }}");
  });

  test("without a config, ids come from the model's, and the second end is that of a turn", () => {
    const renamed = JSON.parse(JSON.stringify(made).replaceAll("<|eom|>", "<|end|>"));
    const found = ggufVocabulary(renamed, undefined, { ...room, bosId: 1, eosIds: [2, 4], padId: 0 }).metadata;
    expect(["bos", "eos", "eot", "padding"].map((name) => found.get(`tokenizer.ggml.${name}_token_id`))).toEqual([1, 2, 4, 0]);
  });

  test.each<[turn: string, eosIds: number[], ends: (number | undefined)[]]>([
    // llama.cpp knows ChatML's end by its text, and Jamba 1.5's by no other key than these.
    ["<|im_end|>", [2], [2, 4, undefined, undefined, undefined]],
    ["<|eom|>", [2], [2, 4, undefined, 4, undefined]],
    ["<|eom|>", [2, 4], [2, 4, undefined, 4, undefined]],
    ["<|stop|>", [2, 4], [2, 4, undefined, 4, undefined]],
    ["<|stop|>", [2, 4, 0], [2, 4, 0, 4, 0]],
    ["<|stop|>", [2], [2, undefined, undefined, undefined, undefined]],
    ["<|eom|>", [2, 9999], [2, 4, undefined, 4, undefined]],
  ])("ends are where llama.cpp looks for them: %s, %j", (turn, eosIds, ends) => {
    const renamed = JSON.parse(JSON.stringify(made).replaceAll("<|eom|>", turn));
    const found = ggufVocabulary(renamed, config, { ...room, eosIds }).metadata;
    const keys = ["eos", "eot", "eom", "fim_pad", "fim_rep"].map((name) => found.get(`tokenizer.ggml.${name}_token_id`));
    expect(keys).toEqual(ends);
  });

  test("a control token that its file lists as a word is one all the same", () => {
    const listed = { ...made, added_tokens: made.added_tokens.filter(({ content }) => content !== "<|pad|>") };
    expect((ggufVocabulary(listed, config, room).metadata.get("tokenizer.ggml.token_type") as Int32Array)[0]).toBe(3);
  });

  test("an id that no token has is not written", () => {
    const found = ggufVocabulary(made, undefined, { ...room, bosId: 1, padId: room.nTokens }).metadata;
    expect(["bos", "padding"].map((name) => found.get(`tokenizer.ggml.${name}_token_id`))).toEqual([1, undefined]);
  });

  test("an end in brackets is a control token, whatever its file says", () => {
    const text = (token: string) => ({ ...made, added_tokens: made.added_tokens.map((t) => ({ ...t, special: t.content !== token })) });
    const typeOf = (token: string, eosIds = [2]) =>
      (ggufVocabulary(text(token), config, { ...room, eosIds }).metadata.get("tokenizer.ggml.token_type") as Int32Array)[
        special.indexOf(token)
      ];
    expect([typeOf("<|eom|>"), typeOf("<|endoftext|>"), typeOf("<|pad|>"), typeOf("<|pad|>", [2, 0])]).toEqual([3, 3, 4, 3]);
  });

  test("a space in front is said, in both of its spellings", () => {
    const prepend = { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, spaces] };
    const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false };
    for (const more of [{ normalizer: prepend }, { normalizer: null, pre_tokenizer: metaspace }])
      expect(ggufVocabulary({ ...made, ...more }, config, room).metadata.get("tokenizer.ggml.add_space_prefix")).toBe(true);
  });

  test("named templates get keys of their own", () => {
    const templates = [
      { name: "default", template: "a" },
      { name: "tool_use", template: "b" },
    ];
    const found = ggufVocabulary(made, { chat_template: templates }, room).metadata;
    expect([found.get("tokenizer.chat_template"), found.get("tokenizer.chat_template.tool_use")]).toEqual(["a", "b"]);
    const byName = { chat_template: { default: "a", tool_use: "b" } };
    expect([...ggufVocabulary(made, byName, room).metadata]).toEqual([...found]);
  });

  test("what is written is read back as the same vocabulary, specials and template", () => {
    const back = ggufTokenizer(metadata)!;
    const model = back.tokenizer.model as { vocab: Record<string, number>; merges: unknown };
    for (const [token, id] of Object.entries(made.model.vocab)) expect(model.vocab[token]).toBe(id);
    expect(model.merges).toEqual([["▁", "a"]]);
    expect(back.tokenizerConfig).toMatchObject({ bos_token: "<|startoftext|>", eos_token: "<|endoftext|>", chat_template: "{{ x }}" });
  });
});

describe("what GGUF can't say is refused", () => {
  const good = tokenizerOf(["a", "b"], []);
  const model = (more: object) => ({ ...good, model: { ...good.model, ...more } });
  const { "<0x41>": _, ...withoutByte } = good.model.vocab;

  test.each<[string, unknown, RegExp]>([
    ["nothing", undefined, /an object with a model/],
    ["another kind", model({ type: "Unigram" }), /model\.type.*"BPE".*"Unigram"/],
    ["no bytes", model({ byte_fallback: false }), /byte_fallback/],
    ["a byte less", model({ vocab: withoutByte }), /<0x41>/],
    ["whole words first", model({ ignore_merges: true }), /ignore_merges/],
    ["no merges", model({ merges: null }), /merges/],
    ["half a merge", model({ merges: ["a b", ["a"]] }), /merges\[1\]/],
    ["an added token without a text", { ...good, added_tokens: [{ id: 3 }] }, /added_tokens/],
    ["a normalizer that changes letters", { ...good, normalizer: { type: "Sequence", normalizers: [spaces, { type: "NFKC" }] } }, /NFKC/],
    ["spaces that stay", { ...good, normalizer: null }, /spaces written as ▁/],
    ["words that are cut first", { ...good, pre_tokenizer: { type: "Metaspace", replacement: "▁" } }, /Metaspace/],
    ["an endless token", model({ vocab: { ...good.model.vocab, ["x".repeat(2000)]: first } }), /at most 1024 characters/],
  ])("%s", (_, tokenizer, message) => {
    expect(() => ggufVocabulary(tokenizer, config, room)).toThrow(TokenizerError);
    expect(() => ggufVocabulary(tokenizer, config, room)).toThrow(message);
  });

  test("more tokens than the embedding has rows", () => {
    expect(() => ggufVocabulary(good, config, { nTokens: first + 1, eosIds: [] })).toThrow(/"b": expected an id below \d+/);
  });
});
