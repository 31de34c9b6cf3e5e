import { afterAll, expect, test } from "vitest";
import { Vocabulary } from "../vocabulary.ts";
import { checkLark } from "./check-lark.ts";

const [control, stop] = [256, 257];
const vocabulary = new Vocabulary({
  size: 258,
  textOf: (id) => (id < 256 ? Uint8Array.of(id) : id === control ? "a" : "<end>"),
  isControl: (id) => id >= control,
  stopIds: [stop],
  encode: (text) => [...new TextEncoder().encode(text)],
});
afterAll(() => vocabulary.dispose());

async function mask(lark: string): Promise<(id: number) => boolean> {
  const matcher = await (await vocabulary.compile(lark)).start();
  const bits = (await matcher.allowed()).slice();
  matcher.dispose();
  return (id) => ((bits[id >> 5] >>> (id & 31)) & 1) === 1;
}

async function accepts(lark: string, text: string): Promise<boolean> {
  const matcher = await (await vocabulary.compile(lark)).start();
  try {
    for (const id of [...new TextEncoder().encode(text), stop]) await matcher.accept(id);
    return true;
  } catch {
    return false;
  } finally {
    matcher.dispose();
  }
}

test("what ~ leaves over is text: no control token, no broken character", async () => {
  for (const grammar of [
    'start: ~"b"',
    "start: NAME\nNAME: ~/b/ & /.{1,3}/",
    'start: ~("b" | "c") "!"',
    'start: ~"b".."d"',
    "start: ~ B // one\nB: /b+/",
  ]) {
    const allows = await mask(checkLark(grammar));
    expect([control, 0xff, 97].map(allows), grammar).toEqual([false, false, true]);
  }
  const lark = checkLark('start: A "." ~ 1..2\nA: ~"b" & /[a-c]{1,2}/');
  for (const [text, fits] of [
    ["a.", true],
    ["b.", false],
    ["bb..", true],
    ["a...", false],
  ] as const)
    expect(await accepts(lark, text), text).toBe(fits);
});

test("schemas are prepared, and refused where nobody does", async () => {
  const grammar = 'start: "<" a ">" // a %json\na: %json {"type": "string", "x-guidance": {"lenient": true}}\n';
  const lark = checkLark(grammar, { json: () => ({ const: "é" }) });
  expect(await accepts(lark, '<"é">')).toBe(true);
  expect(lark).not.toContain("lenient");
  expect(() => checkLark(grammar)).toThrow(/line 2: .*%json/);
});

test("what only looks like a control token is text", async () => {
  const lark = checkLark('start: "<[256]>" /<x>|@y/ A # <z>\nA: "\\"<|im_end|>" // @g\n');
  expect(await accepts(lark, '<[256]><x>"<|im_end|>')).toBe(true);
});

test("what reaches beyond an answer's text is refused with its line", () => {
  const refusals = [
    "start: <[256]>",
    'start: "a"\nb: /x/ <|im_end|>',
    "start: <[^3]>",
    "start: @other",
    'start: a\na[temperature=0.7]: "x"',
    '%llguidance {"allow_invalid_utf8": true}\nstart: "a"',
    '%llguidance {"no_forcing": 1}\nstart: "a"',
    "%llguidance {\nstart: a",
    'start: ~(~"a")',
    'start: %lark { start: "x" } ~"a"',
    `start: "${"a".repeat(1_000_001)}"`,
    'start: "a"\n}\nother: {"b"',
    'start: a{\na: "b"',
    'start: "a" / }',
    "start: /\\\u2028/ <[256]> /a/",
    'start: a\na[max_tokens=5temperature=0.5]: "b"',
    'start: a\na[stop=/x/temperature=0.5]: "b"',
    "start: a\na: 'b'",
    `start: %json ${"[".repeat(100_000)}${"]".repeat(100_000)}`,
    `start: @${"a".repeat(1000)}`,
  ].map((grammar) => {
    try {
      return checkLark(grammar);
    } catch (cause) {
      return (cause as Error).message;
    }
  });
  expect(refusals).toMatchInlineSnapshot(`
    [
      "format.grammar, line 1: expected rules for texts, found the control token <[256]>",
      "format.grammar, line 2: expected rules for texts, found the control token <|im_end|>",
      "format.grammar, line 1: expected rules for texts, found the control token <[^3]>",
      "format.grammar, line 1: expected rules of this grammar, found @other, a reference to another",
      "format.grammar, line 2: expected a temperature of the whole answer, found one of a rule",
      "format.grammar, line 1: expected %llguidance with ignore_once, allow_initial_skip, no_forcing, each true or false, found allow_invalid_utf8: true",
      "format.grammar, line 1: expected %llguidance with ignore_once, allow_initial_skip, no_forcing, each true or false, found no_forcing: 1",
      "format.grammar, line 1: expected JSON after %llguidance, found " {\\nstart: a"",
      "format.grammar, line 1: expected ~ before what holds no other ~, found one within another",
      "format.grammar, line 1: expected ~ outside of %lark, found a grammar with both",
      "format.grammar, line 1: expected a grammar of at most 1000000 characters, found one of 1000010",
      "format.grammar, line 2: expected a { for each }, found one } too many",
      "format.grammar, line 2: expected a } for each {, found the end",
      "format.grammar, line 1: expected a token of Lark, found "/ }"",
      "format.grammar, line 1: expected rules for texts, found the control token <[256]>",
      "format.grammar, line 2: expected a temperature of the whole answer, found one of a rule",
      "format.grammar, line 2: expected a temperature of the whole answer, found one of a rule",
      "format.grammar, line 2: expected a token of Lark, found "'b'"",
      "format.grammar, line 1: expected JSON of at most 64 levels after %json, found more",
      "format.grammar, line 1: expected rules of this grammar, found @aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…, a reference to another",
    ]
  `);
});
