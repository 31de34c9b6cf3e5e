// tokenizer.json files of other SentencePiece-like BPE models, which put a space in front of a text.

import { Tokenizer as Library } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { loadTokenizer, StreamDecoder } from "./index.ts";

const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
const words = ["▁", "a", "b", "▁a", "▁▁", "ab", "▁ab", "b▁", "$"];
const vocab = Object.fromEntries(["<unk>", "<s>", "</s>", ...bytes, ...words].map((token, id) => [token, id]));
const special = (id: number, content: string) => ({ id, content, normalized: false, special: true });

const spaces = { type: "Replace", pattern: { String: " " }, content: "▁" };
const toText = [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }];
const llama = {
  added_tokens: [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
  normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, spaces] },
  pre_tokenizer: null,
  post_processor: null,
  decoder: { type: "Sequence", decoders: [...toText, { type: "Strip", content: " ", start: 1, stop: 0 }] },
  model: {
    type: "BPE",
    vocab,
    merges: ["b ▁", "▁ ▁", "▁ a", "a b", "▁a b"],
    unk_token: "<unk>",
    byte_fallback: true,
    fuse_unk: true,
  },
};
const metaspace = (options: object) => ({
  ...llama,
  normalizer: null,
  pre_tokenizer: { type: "Metaspace", replacement: "▁", ...options },
  decoder: { type: "Metaspace", replacement: "▁", ...options },
});
const tokensOf = (json: unknown, text: string) => {
  const tokenizer = loadTokenizer(json);
  return tokenizer.encode(text).map((id) => tokenizer.tokenOf(id));
};

describe("Llama's file", () => {
  const tokenizer = loadTokenizer(llama, { bos_token: { content: "<s>" }, eos_token: "</s>" });

  test("the space in front comes and goes", () => {
    expect(tokensOf(llama, "ab")).toEqual(["▁ab"]);
    expect(tokenizer.decode(tokenizer.encode("ab"))).toBe("ab");
    expect(tokenizer.decode(tokenizer.encode("  ab 你"))).toBe("  ab 你");
    expect(tokenizer.decode(tokenizer.encode("ab", { addBos: true }))).toBe("<s> ab");
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([1, 2]);
  });

  test("equals the library's decode, in parts as well", () => {
    const library = new Library(llama, { clean_up_tokenization_spaces: false });
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", "b", " ", "é", "🎉", "<s>"), minLength: 1, maxLength: 20 }), (text) => {
        const ids = tokenizer.encode(text);
        expect(ids).toEqual(library.encode(text, { add_special_tokens: false }).ids);
        const decoder = new StreamDecoder(tokenizer);
        const pieces = [...ids.map((id) => decoder.push(id)), decoder.end()];
        expect(pieces.join("")).toBe(library.decode(ids));
      }),
      { seed: 5, numRuns: 1000 },
    );
  });

  test("a decoder that is used again drops the space in front again", () => {
    const decoder = new StreamDecoder(tokenizer);
    const read = () => tokenizer.encode("ab").map((id) => decoder.push(id)) + decoder.end();
    expect([read(), read()]).toEqual(["ab", "ab"]);
  });
});

describe("Metaspace", () => {
  test("splits before each space unless told not to, and the library's does not", () => {
    // `b ▁` is the first merge: only where words are not cut apart can it join two of them.
    expect(tokensOf(metaspace({ split: false }), "b a")).toEqual(["▁", "b▁", "a"]);
    expect(tokensOf(metaspace({ split: true }), "b a")).toEqual(["▁", "b", "▁a"]);
    expect(tokensOf(metaspace({}), "b  a")).toEqual(["▁", "b", "▁", "▁a"]);
  });

  test.each([
    [{ prepend_scheme: "always" }, ["▁a", "<s>", "▁a"]],
    [{ prepend_scheme: "first" }, ["▁a", "<s>", "a"]],
    [{ prepend_scheme: "never" }, ["a", "<s>", "a"]],
    [{ add_prefix_space: false }, ["a", "<s>", "a"]],
  ])("%j", (options, tokens) => {
    const json = metaspace({ split: false, ...options });
    expect(tokensOf(json, "a<s>a")).toEqual(tokens);
    const tokenizer = loadTokenizer(json);
    expect(tokenizer.decode(tokenizer.encode("ab a"))).toBe("ab a");
  });
});

test("a replacement that holds $ is text, not a reference", () => {
  const json = { ...llama, normalizer: { type: "Replace", pattern: { String: "a" }, content: "$&" } };
  expect(tokensOf(json, "a")).toEqual(["$", "<0x26>"]);
});

test("Strip before Fuse takes from every token", () => {
  const json = { ...llama, decoder: { type: "Sequence", decoders: [toText[0], { type: "Strip", content: " ", start: 1, stop: 1 }] } };
  const tokenizer = loadTokenizer(json);
  expect(tokenizer.decode([tokenizer.idOf("▁a")!, tokenizer.idOf("b▁")!, tokenizer.idOf("▁▁")!])).toBe("ab");
});

describe("the config", () => {
  test("an unknown bos token is refused: the files are not of one model", () => {
    expect(() => loadTokenizer(llama, { bos_token: "<bos>" })).toThrow(/bos_token/);
  });

  test("without a bos token none is added, and asking for one is refused", () => {
    const tokenizer = loadTokenizer(llama);
    expect([tokenizer.addBos, tokenizer.bosId]).toEqual([false, undefined]);
    expect(() => tokenizer.encode("a", { addBos: true })).toThrow(/addBos/);
  });

  test("add_bos_token false is heeded", () => {
    expect(loadTokenizer(llama, { bos_token: "<s>", add_bos_token: false }).addBos).toBe(false);
  });
});
