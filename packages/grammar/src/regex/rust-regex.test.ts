import fc from "fast-check";
import { expect, test } from "vitest";
import { rustRegex } from "./rust-regex.ts";

const runs = Number(process.env.JAMBA_FUZZ_CALLS ?? 1000);

/** What is written is also JavaScript's, but for the braces of its characters. */
function javascript(pattern: string, whole: boolean): RegExp {
  return new RegExp(rustRegex(pattern, { name: "pattern", whole }).replaceAll("\\x{", "\\u{"), "u");
}

const chars = [
  ..."abAZz09_-^$.,:/\\[]{}()&|?*+ \t\n\v\f\r\0\u0001\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b",
  "\ufeff",
  "é",
  "٣",
  "ſ",
  "K",
  "日",
  "\ue000",
  "😀",
  "\u{1f610}",
  "\u{10ffff}",
];
const texts = fc.array(fc.constantFrom(...chars), { maxLength: 6 }).map((parts) => parts.join(""));
const atoms = fc.constantFrom(
  ..."abZ9_-é日😀,:/ ",
  ".",
  ..."dDwWsS".split("").map((letter) => `\\${letter}`),
  ..."^$\\.*+?()[]{}|/".split("").map((char) => `\\${char}`),
  ..."\\n \\r \\t \\v \\f [\\0] \\cA \\x41 \\u00e9 \\u{1F600} \\uD83D\\uDE00 \\p{L} \\P{Lu} \\p{Script=Greek}".split(" "),
  ..."[^] [] [[a] [a&&b] [a-z] [^a-z] [-a] [a-] [\\d-] [\\w\\-.] [^\\s] [\\b] [😀-\\u{1F610}] [^😀] [\\uD83D\\uDE00] [\\p{L}_] [.$^]".split(
    " ",
  ),
);
const edges = fc.constantFrom("^", "$");
const counts = fc.constantFrom("*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+?", "{2,3}?");

/** Patterns of all that is supported, with anchors anywhere. */
const { pattern: patterns } = fc.letrec<{ pattern: string; sequence: string; part: string }>((tie) => ({
  pattern: fc.array(tie("sequence"), { minLength: 1, maxLength: 3 }).map((list) => list.join("|")),
  sequence: fc.array(tie("part"), { maxLength: 4 }).map((list) => list.join("")),
  part: fc.oneof(
    { maxDepth: 3 },
    { weight: 5, arbitrary: atoms },
    { weight: 1, arbitrary: edges },
    { weight: 2, arbitrary: fc.tuple(atoms, counts).map(([atom, count]) => atom + count) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom("(", "(?:"), tie("pattern"), fc.oneof(fc.constant(""), counts))
        .map(([open, inner, count]) => `${open}${inner})${count}`),
    },
  ),
}));

test("a pattern as written matches what JavaScript's does, whole and anywhere", () => {
  fc.assert(
    fc.property(patterns, fc.array(texts, { minLength: 8, maxLength: 8 }), (pattern, some) => {
      const pairs = [
        [javascript(pattern, true), new RegExp(`^(?:${pattern})$`, "u")],
        [javascript(pattern, false), new RegExp(pattern, "u")],
      ];
      for (const [ours, theirs] of pairs)
        for (const text of ["", "a", ...some])
          if (ours.test(text) !== theirs.test(text)) throw new Error(`${theirs} and ${ours} differ on ${JSON.stringify(text)}`);
    }),
    { numRuns: runs },
  );
});

test("a class of Unicode's holds the characters that this engine's does", () => {
  for (const property of ["\\p{L}", "\\P{L}", "\\p{Emoji}", "\\p{Script=Greek}", "\\p{Cn}", "\\p{Any}"]) {
    const [ours, theirs] = [javascript(property, true), new RegExp(`^${property}$`, "u")];
    for (let code = 0; code <= 0x10ffff; code += code < 0x3000 ? 1 : 7) {
      if (code >= 0xd800 && code < 0xe000) continue;
      const char = String.fromCodePoint(code);
      if (ours.test(char) !== theirs.test(char)) throw new Error(`${property} and ours differ on U+${code.toString(16)}`);
    }
  }
});

test("a pattern that only reads without u is read by characters", () => {
  const cases: [pattern: string, text: string, matches: boolean][] = [
    ["^\\-\\_\\@$", "-_@", true],
    ["^{$", "{", true],
    ["^a{,3}$", "a{,3}", true],
    ["^a{,3}$", "aa", false],
    ["^[\\w-.]+$", "a-.", true],
    ["^😀\\-.$", "😀-😎", true],
    ["^[😀-😎]\\-$", "😅-", true],
    ["^[^😀]\\-$", "😀-", false],
    ["^\\uD83D\\uDE00\\-$", "😀-", true],
    ["^[a-😀]\\-$", "日-", true],
  ];
  for (const [pattern, text, matches] of cases) expect(javascript(pattern, true).test(text), `${pattern} on ${text}`).toBe(matches);
});

test("(?i:…) takes both cases, as the flags iu do", () => {
  for (const part of ["a", "K", "ſ", "[^k-m]", "\\w", "\\W", "ß", "Σ", "é", "[à-ö]", "\\p{Lu}"]) {
    const [ours, theirs] = [javascript(`(?i:${part})`, true), new RegExp(`^(?:${part})$`, "iu")];
    for (let code = 0; code < 0x2200; code++) {
      const char = String.fromCodePoint(code);
      if (ours.test(char) !== theirs.test(char)) throw new Error(`${part} and ours differ on U+${code.toString(16)}`);
    }
  }
});

test("what can't be written is refused by name and place", () => {
  const refusals = [
    "(",
    "a**",
    "\\Z\\-",
    "\\p{L}\\-",
    "\\1\\-",
    "\\p{Nope}",
    "a{2000000}",
    "(a)\\1",
    "(".repeat(101) + ")".repeat(101),
    "a".repeat(100_001),
    "(?s:.)",
  ].map((pattern) => {
    try {
      return rustRegex(pattern, { name: "format.pattern", whole: true });
    } catch (cause) {
      return (cause as Error).message;
    }
  });
  expect(refusals).toMatchInlineSnapshot(`
    [
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found one that can't be read: Invalid regular expression: /(/u: Unterminated group",
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found one that can't be read: Invalid regular expression: /a**/u: Nothing to repeat",
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found \\Z at character 0, which has no meaning under the flag u",
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found \\p at character 0, which has no meaning under the flag u",
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found \\1 at character 0, which has no meaning under the flag u",
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found \\p at character 0, which has no meaning under the flag u",
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found a{2000000}, which repeats more than 1000000 times",
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found \\1 at character 3, a reference back to what a group took",
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found groups more than 100 deep",
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found one of 100001 characters, more than 100000",
      "format.pattern: expected a regular expression of JavaScript that a text can follow, found (?s: at character 0; of such flags only i is known",
    ]
  `);
});
