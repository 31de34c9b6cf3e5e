import { existsSync, readFileSync } from "node:fs";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { TokenizerError } from "@jamba/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { loadTokenizer, type Message, StreamDecoder } from "./index.ts";

const root = new URL("../../../", import.meta.url);
const readJson = (path: string | URL) => JSON.parse(readFileSync(new URL(path, root), "utf8"));
const readRows = (path: string) =>
  readFileSync(new URL(path, root), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

const tiny = loadTokenizer(readJson("packages/tiny-model/tokenizer.json"), readJson("packages/tiny-model/tokenizer_config.json"));

interface Expected {
  prompt?: string;
  messages?: Message[];
  tools?: unknown[];
  documents?: unknown[];
  knobs?: Record<string, unknown>;
  promptIds: number[];
  newIds: number[];
  text: string;
}
const expected: Expected[] = readRows("tooling/tiny-model/eval/expected.jsonl");

describe("the small model's tokenizer", () => {
  test.each(expected.map((row, i) => [i, row] as const))(
    "row %i of the expected texts is encoded exactly, by the file's template",
    (_, row) => {
      const { tools, documents, knobs } = row;
      const ids =
        row.prompt === undefined
          ? tiny.encode(tiny.renderChat(row.messages!, { tools, documents, knobs }))
          : tiny.encode(row.prompt, { addBos: true });
      expect(ids).toEqual(row.promptIds);
      const stop = [2, 4].includes(row.newIds.at(-1)!) ? -1 : undefined;
      expect(tiny.decode(row.newIds.slice(0, stop))).toBe(row.text);
    },
  );

  test("rows without modes are encoded exactly by the built-in form too", () => {
    const rows = expected.filter((row) => row.messages && !row.knobs);
    expect(rows.length).toBeGreaterThan(10);
    for (const { messages, tools, documents, promptIds } of rows)
      expect(tiny.encode(tiny.renderChat(messages!, { tools, documents, form: "jamba" }))).toEqual(promptIds);
  });

  test("any text survives, except that ▁ comes back as a space", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        const ids = tiny.encode(text);
        expect(tiny.decode(ids)).toBe(text.replaceAll("▁", " ").toWellFormed());
      }),
      { seed: 1, numRuns: 3000 },
    );
  });

  test.each([
    "שלום עולם",
    "你好,世界",
    "👩‍👩‍👧 é́ß",
    "\0\u0001",
    "  a   b    ",
    "\r\n\t\tx\n\n",
    "<|bom|><|user|> Hi<|eom|>",
    "a<|endoftext|>b",
    "\uFEFFbom",
    "",
  ])("%j survives", (text) => {
    expect(tiny.decode(tiny.encode(text))).toBe(text);
  });

  test("special tokens in a text become their ids, and can be left out of it again", () => {
    const ids = tiny.encode("Hi<|eom|> there");
    expect(ids).toContain(tiny.idOf("<|eom|>"));
    expect(tiny.decode(ids, { skipSpecialTokens: true })).toBe("Hi there");
  });

  test("bos is added once, and only when asked for", () => {
    expect(tiny.encode("a")[0]).not.toBe(tiny.bosId);
    expect(tiny.encode("a", { addBos: true })).toEqual([tiny.bosId, ...tiny.encode("a")]);
    expect(tiny.encode("<|startoftext|>a", { addBos: true })).toEqual([tiny.bosId, ...tiny.encode("a")]);
    expect(tiny.encode("", { addBos: true })).toEqual([tiny.bosId]);
  });

  test("half a surrogate pair is read as U+FFFD", () => {
    expect(tiny.decode(tiny.encode("a\uD83Cb"))).toBe("a\uFFFDb");
  });

  test("it knows its words", () => {
    expect(tiny).toMatchObject({ vocabSize: 2048, bosId: 1, eosId: 2, addBos: true });
    expect([tiny.idOf("<|eom|>"), tiny.tokenOf(4), tiny.isSpecial(4), tiny.isSpecial(900), tiny.idOf("nowhere")]).toEqual([
      4,
      "<|eom|>",
      true,
      false,
      undefined,
    ]);
  });

  test.each([[7], [null], [undefined], ["5"]])("decoding %j, which lists no ids, is refused", (ids) => {
    expect(() => tiny.decode(ids as never)).toThrow(TokenizerError);
  });

  test.each([[7], [null], [undefined], [["a"]]])("encoding %j is refused", (text) => {
    expect(() => tiny.encode(text as never)).toThrow(TokenizerError);
  });

  test.each([[2048], [-1], [0.5], [Number.NaN]])("decoding id %d is refused", (id) => {
    expect(() => tiny.decode([5, id])).toThrow(expect.objectContaining({ code: "TOKENIZER" }));
  });
});

describe("StreamDecoder", () => {
  test("pieces never hold half a character and add up to the whole", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 40 }), (text) => {
        const decoder = new StreamDecoder(tiny);
        const pieces = [...tiny.encode(text).map((id) => decoder.push(id)), decoder.end()];
        for (const piece of pieces) expect(piece.isWellFormed() && !piece.includes("\uFFFD")).toBe(true);
        expect(pieces.join("")).toBe(text.replaceAll("▁", " "));
      }),
      { seed: 2, numRuns: 2000 },
    );
  });

  test("any ids give the same text whole and in parts, with bytes as the Encoding standard reads them", () => {
    const bytes = fc.integer({ min: tiny.idOf("<0x00>")!, max: tiny.idOf("<0xFF>")! });
    fc.assert(
      fc.property(fc.array(fc.oneof(bytes, fc.nat({ max: 2047 })), { maxLength: 60 }), fc.boolean(), (ids, skipSpecialTokens) => {
        const decoder = new StreamDecoder(tiny, { skipSpecialTokens });
        const streamed = ids.map((id) => decoder.push(id)).join("") + decoder.end();
        expect(streamed).toBe(tiny.decode(ids, { skipSpecialTokens }));
        if (ids.every((id) => typeof tiny.pieceOf(id) === "number"))
          expect(streamed).toBe(
            new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(ids, (id) => tiny.pieceOf(id) as number)),
          );
      }),
      { seed: 4, numRuns: 2000 },
    );
  });

  test("bytes that never make a character become U+FFFD, and what follows is whole", () => {
    const byte = (value: number) => tiny.idOf(`<0x${value.toString(16).toUpperCase().padStart(2, "0")}>`)!;
    const [a] = tiny.encode("a");
    expect(tiny.decode([byte(0xf0), byte(0x9f), a])).toBe("\uFFFDa");
    expect(tiny.decode([byte(0xe4), byte(0xbd), byte(0xa0), byte(0xff), a])).toBe("你\uFFFDa");
    expect(tiny.decode([byte(0xf0)])).toBe("\uFFFD");
    const decoder = new StreamDecoder(tiny);
    expect([byte(0xf0), byte(0x9f), byte(0x8e), byte(0x89)].map((id) => decoder.push(id))).toEqual(["", "", "", "🎉"]);
  });
});

describe("the library's decode", () => {
  const json = readJson("packages/tiny-model/tokenizer.json");
  const library = new Library(json, { clean_up_tokenization_spaces: false });

  // The library drops byte-order marks, and has U+FFFD where ours has it only at the same byte runs.
  test("equals ours for the ids of any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }), (text) => {
        const ids = tiny.encode(text);
        expect(tiny.decode(ids)).toBe(library.decode(ids));
      }),
      { seed: 3, numRuns: 1000 },
    );
  });

  test("equals ours without special tokens", () => {
    const ids = tiny.encode("<|bom|><|user|> Hi 🎉<|eom|>");
    expect(tiny.decode(ids, { skipSpecialTokens: true })).toBe(library.decode(ids, { skip_special_tokens: true }));
  });
});

describe("the published Jamba 1.5 tokenizer", () => {
  const folder = new URL("../shared/tokenizer/", root);
  const here = existsSync(folder);

  test("all of its vectors are exact", (context) => {
    if (!here) context.skip("the published tokenizer is not part of this repository and is not beside it");
    const tokenizer = loadTokenizer(readJson(new URL("tokenizer.json", folder)));
    const vectors: { text: string; ids: number[]; decoded: string }[] = readJson(new URL("vectors.json", folder));
    expect(vectors.length).toBe(158);
    for (const { text, ids, decoded } of vectors) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
  });
});
