import stringWidth from "string-width";
import { describe, expect, test } from "vitest";
import { WordWrap } from "./word-wrap.ts";

/** What a terminal of `columns` gets of a text in pieces. */
function wrap(pieces: readonly string[], columns: number | undefined): string {
  let out = "";
  const wrap = new WordWrap(() => columns);
  for (const piece of pieces) wrap.write(piece, (text) => (out += text));
  wrap.end();
  return out;
}
/** Cuts as a tokenizer would, and worse: in the middle of words and of emoji. */
function cut(text: string, seed: number): string[] {
  const pieces: string[] = [];
  let state = seed;
  for (let at = 0; at < text.length; ) {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    const end = at + 1 + (state % 7);
    pieces.push(text.slice(at, end));
    at = end;
  }
  return pieces;
}

const story =
  "Once upon a time, a little girl named Ines lived near the farm — she said: \"What's that?\"\n\nThe café's naïve fox 🦊 saw 👩‍👩‍👧 a family.  Two spaces. end";
const chinese = "数学是研究数量、结构、变化以及空间等概念的一门学科。「你好」他说。";

describe.each([10, 17, 23, 40, 80])("at %i columns", (columns) => {
  test.each([1, 2, 3])("no word is broken, no line is longer, and nothing else is changed (pieces %i)", (seed) => {
    const out = wrap(cut(story, seed), columns);
    for (const line of out.split("\n")) expect(stringWidth(line)).toBeLessThanOrEqual(columns);
    const words = (text: string) => text.split(/\s+/);
    expect(words(out)).toEqual(words(story));
    expect(out).toBe(wrap([story], columns));
  });

  test("wide characters end lines where they may", () => {
    const out = wrap(cut(chinese, 5), columns);
    expect(out.replaceAll("\n", "")).toBe(chinese);
    for (const line of out.split("\n")) {
      expect(stringWidth(line)).toBeLessThanOrEqual(columns);
      expect(line).not.toMatch(/^[、。」]|「$/);
    }
  });
});

test.each([
  ["a line that fits is left alone", "one two\nthree", 13, "one two\nthree"],
  ["a space that would begin a line goes", "aaaa bbbb cccc", 9, "aaaa bbbb\ncccc"],
  ["a word that exactly fills the line stays", "aaaa bbbb", 4, "aaaa\nbbbb"],
  [
    "words longer than the line are passed on, from a line of their own",
    "see https://host/a/very/long/path now",
    12,
    "see\nhttps://host/a/very/long/path now",
  ],
  ["a no-break space is no place to break", "aaa 10\u00a0km", 8, "aaa\n10\u00a0km"],
  ["nor is a narrow one", "aaa 10\u202fkm", 8, "aaa\n10\u202fkm"],
  [
    "code is as it was",
    "x\n```ts\nconst aaaa = bbbb + cccc;\n```\naaaa bbbb cccc",
    9,
    "x\n```ts\nconst aaaa = bbbb + cccc;\n```\naaaa bbbb\ncccc",
  ],
  ["so is what is indented like code", "    return aaaa + bbbb;", 9, "    return aaaa + bbbb;"],
  ["and a table", "| aaaa | bbbb |\n| ---- | ---- |", 9, "| aaaa | bbbb |\n| ---- | ---- |"],
  ["a list keeps its indentation", "  - aaaa bbbb", 9, "  - aaaa\nbbbb"],
  [
    "a fence of more ticks ends only by as many",
    "````\n```\naaaa bbbb cccc\n````\naaaa bbbb cccc",
    9,
    "````\n```\naaaa bbbb cccc\n````\naaaa bbbb\ncccc",
  ],
  ["spaces at an end stay away, empty lines do not", "a  \n\n  b", 9, "a\n\n  b"],
  ["where there is no width nothing is wrapped", "aaaa bbbb cccc", undefined, "aaaa bbbb cccc"],
] as [string, string, number | undefined, string][])("%s", (_, text, columns, expected) => {
  for (const pieces of [[text], [...text], cut(text, 3)]) expect(wrap(pieces, columns)).toBe(expected);
});

test("the width is that of the moment, and what goes elsewhere counts too", () => {
  let columns = 9;
  const lines: string[] = [];
  const to = (name: string) => (text: string) => lines.push(`${name}${text}`);
  const wrap = new WordWrap(() => columns);
  wrap.write("aaaa ", to("1"));
  wrap.write("bb", to("1"));
  wrap.write("bb ", to("2"));
  columns = 20;
  wrap.write("cccc dddd", to("2"));
  wrap.end();
  expect(lines.join("|")).toBe("1aaaa|1 bb|2bb|2 cccc|2 dddd");
});
