// Ids against the library's own BPE, which is exact and slow.

import { existsSync, readFileSync } from "node:fs";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { turnsDuring } from "../test/turns.ts";
import { MergeQueue } from "./merge-queue.ts";
import { loadTokenizer } from "./tokenizer.ts";

const runs = Number(process.env.JAMBA_FUZZ_CALLS ?? 300);
const root = new URL("../../../", import.meta.url);
const readJson = (url: URL) => JSON.parse(readFileSync(url, "utf8"));
const tiny = readJson(new URL("packages/tiny-model/tokenizer.json", root));
const published = new URL("../shared/tokenizer/tokenizer.json", root);

const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
const spaces = { type: "Replace", pattern: { String: " " }, content: "▁" };
const decoder = { type: "Replace", pattern: { String: "▁" }, content: " " };

/** Each id of a text by the library alone. */
function libraryOf(json: unknown): (text: string) => number[] {
  const library = new Library(json as object, {});
  return (text) => library.encode(text.toWellFormed(), { add_special_tokens: false }).ids;
}

/** A small file with merges in any order, of the letters a, b, ▁ and an emoji. */
const anyFile = fc
  .record({
    merges: fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 30 }),
    order: fc.infiniteStream(fc.nat()),
    flags: fc.record({ byte_fallback: fc.boolean(), fuse_unk: fc.boolean(), ignore_merges: fc.boolean() }),
    unknown: fc.boolean(),
    fewBytes: fc.boolean(),
    normalizer: fc.constantFrom(null, spaces, { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, spaces] }),
    pre_tokenizer: fc.constantFrom(
      null,
      { type: "Metaspace", split: false, prepend_scheme: "first" },
      { type: "Metaspace", split: false, prepend_scheme: "always" },
    ),
    added: fc.array(fc.record({ normalized: fc.boolean(), lstrip: fc.boolean(), rstrip: fc.boolean() }), { minLength: 3, maxLength: 3 }),
  })
  .map(({ merges, order, flags, unknown, fewBytes, normalizer, pre_tokenizer, added }) => {
    const tokens = ["<unk>", ...(fewBytes ? bytes.slice(0, 200) : bytes), "a", "b", "▁", "🎉"];
    const letters = tokens.slice(-4);
    const pairs: [string, string][] = [];
    for (const [left, right] of merges) {
      const pair: [string, string] = [letters[left % letters.length], letters[right % letters.length]];
      if (pair.join("").length > 12) continue;
      pairs.push(pair);
      if (!letters.includes(pair.join(""))) letters.push(pair.join(""));
    }
    const ranked = pairs.map((pair) => ({ pair, rank: order.next().value as number })).sort((x, y) => x.rank - y.rank);
    const all = [...new Set([...tokens, ...letters])];
    const contents = ["<s>", "b a", "ab"];
    return {
      added_tokens: added.map((token, i) => ({
        ...token,
        content: contents[i],
        id: all.includes(contents[i]) ? all.indexOf(contents[i]) : all.length + i,
        special: i === 0,
      })),
      normalizer,
      pre_tokenizer,
      post_processor: null,
      decoder,
      model: {
        type: "BPE",
        vocab: Object.fromEntries(all.map((token, id) => [token, id])),
        merges: ranked.map(({ pair }) => pair),
        unk_token: unknown ? "<unk>" : null,
        ...flags,
      },
    };
  });
const unit = fc.constantFrom("a", "a", "b", "▁", " ", " ", "🎉", "🎈", "é", "e\u0301", "\uD83C", "\u200B", "<unk>", "<s>", "<0x41>");

describe("ids equal the library's", () => {
  test("for files with any merges, added tokens and flags", () => {
    let merged = 0;
    const check = fc.property(anyFile, fc.array(fc.string({ unit, maxLength: 60 }), { minLength: 8, maxLength: 8 }), (json, texts) => {
      const [tokenizer, expected] = [loadTokenizer(json), libraryOf(json)];
      for (const text of [...texts, ...texts]) {
        const ids = tokenizer.encode(text);
        expect(ids, JSON.stringify({ text, json })).toEqual(expected(text));
        merged += ids.filter((id) => (tokenizer.tokenOf(id)?.length ?? 0) > 1).length;
      }
    });
    fc.assert(check, { seed: 1, numRuns: runs });
    expect(merged).toBeGreaterThan(runs);
  });

  const alphabets = {
    anything: fc.string({ unit: "binary", maxLength: 200 }),
    graphemes: fc.string({ unit: "grapheme", maxLength: 100 }),
    letters: fc.string({ unit: fc.constantFrom(..."etaoinshrdlu"), maxLength: 300 }),
    code: fc.string({
      unit: fc.constantFrom(" ", "    ", "\n", "\t", "return", "if", "(", ")", "{", "=", "x", ",", "0", "▁", "<|eom|>", "<|"),
      maxLength: 80,
    }),
    scripts: fc.string({
      unit: fc.constantFrom("ש", "ל", "ם", "你", "好", "é", "e\u0301", "👩‍👩‍👧", "\u200D", "\uD83C", " "),
      maxLength: 80,
    }),
    runs: fc
      .array(fc.tuple(fc.constantFrom(" ", "a", "ab", "-", "=", "\n", "ha"), fc.nat({ max: 90 })), { maxLength: 6 })
      .map((parts) => parts.map(([text, count]) => text.repeat(count)).join("")),
  };
  const files: [string, URL][] = [
    ["the small model's", new URL("packages/tiny-model/tokenizer.json", root)],
    ["the published Jamba 1.5", published],
  ];
  test.for(files)("of %s tokenizer, for texts of many alphabets", ([, url], context) => {
    if (!existsSync(url)) context.skip("the published tokenizer is not part of this repository and is not beside it");
    const [tokenizer, expected] = [loadTokenizer(readJson(url)), libraryOf(readJson(url))];
    for (const texts of Object.values(alphabets))
      fc.assert(
        fc.property(texts, (text) => {
          expect(tokenizer.encode(text)).toEqual(expected(text));
        }),
        { seed: 2, numRuns: runs },
      );
  });

  test("for texts of many pieces, whatever is done with their spaces", () => {
    const parts = ["a ", "  b", " ", "ab", "🎉", "\ud83c", "<s>", "b a", "▁ "];
    const text = (seed: number) =>
      Array.from({ length: 9000 }, (_, i) => parts[(Math.imul(i + seed, 0x9e3779b1) >>> 11) % parts.length]).join("");
    fc.assert(
      fc.property(anyFile, fc.nat(), (json, seed) => {
        expect(loadTokenizer(json).encode(text(seed))).toEqual(libraryOf(json)(text(seed)));
      }),
      { numRuns: 20, seed: 1 },
    );
  });

  test("for pieces that are longer than one heap is for", () => {
    const [tokenizer, expected] = [loadTokenizer(tiny), libraryOf(tiny)];
    const letters = Array.from({ length: 12_000 }, (_, i) => "etaoinshr"[(Math.imul(i + 7, 0x9e3779b1) >>> 13) % 9]).join("");
    for (const text of [letters, " ".repeat(5001), "abc".repeat(3000), `${letters.slice(0, 5000)}${" ".repeat(4999)}${letters}`])
      expect(tokenizer.encode(text)).toEqual(expected(text));
  });
});

test.each([" ", "ab", "etaoinshr", "the"])("the pairs that are looked at grow with the length of %j repeated", (text) => {
  const tokenizer = loadTokenizer(tiny);
  const add = vi.spyOn(MergeQueue.prototype, "add");
  for (const count of [1000, 10_000, 100_000]) {
    add.mockClear();
    tokenizer.encode(text.repeat(count));
    expect(add.mock.calls.length).toBeLessThanOrEqual(3 * text.length * count);
  }
  add.mockRestore();
});

test("long texts become the same ids in slices, and others have turns between", async () => {
  const tokenizer = loadTokenizer(tiny);
  const text = `${" a".repeat(40_000)}${"b".repeat(500_000)}${"\n".repeat(300_000)}\ud800<|bom|>${"some words of it ".repeat(20_000)}`;
  let ids: number[] = [];
  const turns = await turnsDuring(async () => {
    ids = await tokenizer.encodeAsync(text);
  });
  expect(turns).toBeGreaterThan(3);
  let decoded = "";
  const others = await turnsDuring(async () => {
    decoded = await tokenizer.decodeAsync(ids);
  });
  expect(others).toBeGreaterThan(0);
  expect(decoded).toBe(tokenizer.decode(ids));
  expect(ids).toEqual(tokenizer.encode(text));
});

test("what a signal ends in the middle leaves the tokenizer as it was", async () => {
  const tokenizer = loadTokenizer(tiny);
  const [controller, text] = [new AbortController(), "ab".repeat(500_000)];
  setImmediate(() => controller.abort(new Error("enough")));
  const [cut, beside] = [tokenizer.encodeAsync(text, { signal: controller.signal }), tokenizer.encodeAsync(text)];
  await expect(cut).rejects.toThrow("enough");
  expect(await beside).toEqual(tokenizer.encode(text));
});
