import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { Vocabulary } from "../vocabulary.ts";
import { larkOfEbnf } from "./lark-of-ebnf.ts";
import { type Part, readEbnf } from "./read-ebnf.ts";

const runs = Number(process.env.JAMBA_FUZZ_CALLS ?? 60);

/** All bytes and the end. */
const stop = 256;
const vocabulary = new Vocabulary({
  size: 257,
  textOf: (id) => (id < 256 ? Uint8Array.of(id) : "<end>"),
  isControl: (id) => id === stop,
  stopIds: [stop],
  encode: (text) => [...new TextEncoder().encode(text)],
});
afterAll(() => vocabulary.dispose());

async function accepter(grammar: string): Promise<(text: string) => Promise<boolean>> {
  const compiled = await vocabulary.compile(larkOfEbnf(grammar));
  return async (text) => {
    const matcher = await compiled.start();
    try {
      for (const id of [...new TextEncoder().encode(text), stop]) await matcher.accept(id);
      return true;
    } catch {
      return false;
    } finally {
      matcher.dispose();
    }
  };
}

/** Whether `root` matches a text, found by asking for all ends of each rule at each place until no more turn up. */
function recognises(grammar: string, text: string): boolean {
  const rules = readEbnf(grammar);
  const codes = [...text].map((char) => char.codePointAt(0)!);
  const known = new Map<string, Set<number>>();
  let isNew = true;
  const endsOf = (name: string, from: number): Set<number> => {
    const key = `${name} ${from}`;
    if (!known.has(key)) isNew = true;
    known.set(key, known.get(key) ?? new Set());
    return known.get(key)!;
  };
  const all = (places: Iterable<number>, part: Part) => new Set([...places].flatMap((place) => [...ends(part, place)]));
  const ends = (part: Part, from: number): ReadonlySet<number> => {
    if (part.kind === "set") return new Set(part.ranges.some(([a, b]) => a <= codes[from] && codes[from] <= b) ? [from + 1] : []);
    if (part.kind === "rule") return new Set(endsOf(part.name, from));
    if (part.kind === "choice") return new Set(part.parts.flatMap((one) => [...ends(one, from)]));
    if (part.kind === "sequence") return part.parts.reduce(all, new Set([from]));
    const found = new Set(part.min === 0 ? [from] : []);
    let places: ReadonlySet<number> = new Set([from]);
    for (let round = 1; round <= Math.min(part.max, part.min + codes.length + 1); round++) {
      places = all(places, part.part);
      if (round >= part.min) for (const place of places) found.add(place);
    }
    return found;
  };
  endsOf("root", 0);
  while (isNew) {
    isNew = false;
    for (const [key, found] of [...known]) {
      const [name, from] = key.split(" ");
      for (const end of ends(rules.get(name)!.part, Number(from)))
        if (!found.has(end)) {
          found.add(end);
          isNew = true;
        }
    }
  }
  return endsOf("root", 0).has(codes.length);
}

const names = ["root", "p", "q", "r"];
/** é and ü begin with the same byte, of which a lexer may take too many. */
const atoms = fc.constantFrom(
  ...['"a"', '"b"', '"ab"', '"aba"', '""', '"é"', '"ü"', '"éa"', "[ab]", "[^a]", "[a-bé]", '"日"', "[a]", ".", "[é-ü]"],
);
const counts = fc.constantFrom("", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}");
const { choice: bodies } = fc.letrec<Record<"choice" | "sequence" | "part", string>>((tie) => ({
  choice: fc.array(tie("sequence"), { minLength: 1, maxLength: 3 }).map((list) => list.join(" | ")),
  sequence: fc.array(tie("part"), { maxLength: 4 }).map((list) => list.join(" ")),
  part: fc.oneof(
    { maxDepth: 2 },
    { weight: 6, arbitrary: fc.tuple(atoms, counts).map(([atom, count]) => atom + count) },
    { weight: 3, arbitrary: fc.tuple(fc.constantFrom(...names), counts).map(([name, count]) => name + count) },
    { weight: 2, arbitrary: fc.tuple(tie("choice"), counts).map(([inner, count]) => `(${inner})${count}`) },
  ),
}));
const grammars = fc
  .array(bodies, { minLength: names.length, maxLength: names.length })
  .map((list) => list.map((body, i) => `${names[i]} ::= ${body}`).join("\n"));
const texts = fc.array(fc.constantFrom("a", "b", "é", "ü", "日"), { maxLength: 7 }).map((parts) => parts.join(""));

test("a grammar matches the texts that its rules say, left recursion and ambiguity included", async () => {
  let used = 0;
  await fc.assert(
    fc.asyncProperty(grammars, fc.array(texts, { minLength: 20, maxLength: 20 }), async (grammar, some) => {
      let accepts: (text: string) => Promise<boolean>;
      try {
        accepts = await accepter(grammar);
      } catch (cause) {
        expect((cause as Error).message).toMatch(/rules that can end|leads nowhere/);
        return;
      }
      used++;
      for (const text of ["", "a", "ab", "aba", ...some])
        if ((await accepts(text)) !== recognises(grammar, text))
          throw new Error(`${JSON.stringify(text)} in ${grammar}, as ${larkOfEbnf(grammar)}`);
    }),
    { numRuns: runs },
  );
  expect(used).toBeGreaterThan(runs / 2);
});

const json = `root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws # an object
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\\"" ( [^"\\\\\\x7F\\x00-\\x1F] | "\\\\" (["\\\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\\n" [ \\t]{0,20}
`;

test("llama.cpp's grammar of JSON takes JSON, a terminal for each text and number", async () => {
  expect(larkOfEbnf(json)).toMatchInlineSnapshot(`
    "start: r0
    r0: r1
    T2: /\\x{7b}/
    T3: /\\x{20}|\\x{a}[\\x{9}\\x{20}]{0,20}/
    T4: /\\x{22}(?:[^\\x{0}-\\x{1f}\\x{22}\\x{5c}\\x{7f}]|\\x{5c}(?:[\\x{22}\\x{5c}bfnrt]|u[0-9A-Fa-f]{4}))*\\x{22}(?:\\x{20}|\\x{a}[\\x{9}\\x{20}]{0,20})?/
    T5: /\\x{3a}/
    T7: /\\x{2c}/
    T8: /\\x{3a}/
    T9: /\\x{7d}/
    r1: T2 T3? (T4 T5 T3? r6 (T7 T3? T4 T8 T3? r6)*)? T9 T3?
    T11: /\\x{2d}(?:[0-9]|[1-9][0-9]{0,15})(?:\\x{2e}[0-9]+)?(?:[Ee][\\x{2b}\\x{2d}]?[0-9][1-9]{0,15})?(?:\\x{20}|\\x{a}[\\x{9}\\x{20}]{0,20})?|(?:[0-9]|[1-9][0-9]{0,15})(?:\\x{2e}[0-9]+)?(?:[Ee][\\x{2b}\\x{2d}]?[0-9][1-9]{0,15})?(?:\\x{20}|\\x{a}[\\x{9}\\x{20}]{0,20})?/
    T12: /(?:true|false|null)(?:\\x{20}|\\x{a}[\\x{9}\\x{20}]{0,20})?/
    r6: r1 | r10 | T4 | T11 | T12
    T13: /\\x{5b}/
    T14: /\\x{2c}/
    T15: /\\x{5d}/
    r10: T13 T3? (r6 (T14 T3? r6)*)? T15 T3?
    "
  `);
  const accepts = await accepter(json);
  for (const text of ['{"a": [1, 2.5e3, {"b": "é\\n日"}], "c": null}', "{}", '{ "a":true }']) expect(await accepts(text), text).toBe(true);
  for (const text of ['{"a"}', "[]", '{"a": 01}', '{"a": "\n"}']) expect(await accepts(text), text).toBe(false);
});

test("escapes, classes beyond ASCII, comments and lines are read", async () => {
  const accepts = await accepter(`
root ::= "\\n\\t\\"\\\\\\x41\\u00e9\\U0001F600" # a "comment" ::=
  [é-ü😀\\]\\-a-] |
  (
    "x"

  ) other-rule_1{2,3} |
other-rule_1 ::= [^a-z\\n] | "\\ud83d\\ude00"`);
  for (const text of ['\n\t"\\Aé😀ü', '\n\t"\\Aé😀😀', '\n\t"\\Aé😀]', '\n\t"\\Aé😀-', "x日日", "x😀A日", ""])
    expect(await accepts(text), text).toBe(true);
  for (const text of ['\n\t"\\Aé😀b', "x日", "x日日日日", "xaa"]) expect(await accepts(text), text).toBe(false);
});

test("what is wrong is told with its line", () => {
  const refusals = [
    "",
    "start ::= a",
    "root ::= root",
    'root ::= a\na ::= "x" b\nb ::= a',
    "root ::= foo",
    'root ::= "a"\nroot ::= "b"',
    'root ::= "a',
    "root ::= [a",
    "root ::= []",
    "root ::= [z-a]",
    'root ::= "\\q"',
    'root ::= "\\ud800"',
    'root ::= "a"{3,2}',
    'root ::= "a"{,}',
    'root ::= "a"{200000}',
    'root ::= ("a"',
    'root ::= "a")',
    'root ::= (="a")',
    "root = a",
    `root ::= ${"(".repeat(20_000)}"a"${")".repeat(20_000)}`,
  ].map((grammar) => {
    try {
      return larkOfEbnf(grammar);
    } catch (cause) {
      return (cause as Error).message;
    }
  });
  expect(refusals).toMatchInlineSnapshot(`
    [
      "format.grammar, line 1: expected a rule named root, found no rules",
      "format.grammar, line 1: expected a rule named root, found start",
      "format.grammar, line 1: expected rules that can end, found root, which only leads to itself again",
      "format.grammar, line 1: expected rules that can end, found root, which only leads to itself again",
      "format.grammar, line 1: expected names of rules, found foo in root, which is none",
      "format.grammar, line 2: expected rules of different names, found a second root; the first is on line 1",
      "format.grammar, line 1: expected " on the same line, found the end",
      "format.grammar, line 1: expected ] on the same line, found the end",
      "format.grammar, line 1: expected a class that holds a character, found one that holds none",
      "format.grammar, line 1: expected a range from the lower character to the higher one, found its ends swapped",
      "format.grammar, line 1: expected an escape after \\; "q" is none, found "\\""",
      "format.grammar, line 1: expected a character, found U+d800, which is none",
      "format.grammar, line 1: expected a repetition whose least is not more than its most, found {3,2}",
      "format.grammar, line 1: expected a number between { and }, found the end",
      "format.grammar, line 1: expected at most 100000 repetitions, found {200000}",
      "format.grammar, line 1: expected ) at the end of a group, found the end",
      "format.grammar, line 1: expected what rule root goes on with, found ")"",
      "format.grammar, line 1: expected a group; look-ahead is not known, found "=\\"a\\")"",
      "format.grammar, line 1: expected ::= after the name root, found "= a"",
      "format.grammar, line 1: expected groups at most 500 deep, found deeper ones",
    ]
  `);
});

test("rules of many levels are written or refused, as the stack allows", () => {
  for (const levels of [10, 100, 999]) {
    const rules = Array.from({ length: levels }, (_, i) => `${i === 0 ? "root" : `r${i}`} ::= "a" r${i + 1} "b" | root`);
    const grammar = `${rules.join("\n")}\nr${levels} ::= "x" | root`;
    try {
      expect(larkOfEbnf(grammar)).toContain("start:");
    } catch (cause) {
      expect(cause).toMatchObject({ code: "OPTION", message: expect.stringContaining("ones of too many levels") });
      expect(levels).toBe(999);
    }
  }
});
