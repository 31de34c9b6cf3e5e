// Patterns and grammars that mean harm: refused in words or compiled, in bounded time, with everybody else served after them.
// JAMBA_FUZZ_CALLS says how many (the full count is 100000).

import { JambaError } from "@jamba/core";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { checkLark } from "./ebnf/check-lark.ts";
import { larkOfEbnf } from "./ebnf/lark-of-ebnf.ts";
import { rustRegex, rustRegexes } from "./regex/rust-regex.ts";
import { Vocabulary } from "./vocabulary.ts";

const runs = Number(process.env.JAMBA_FUZZ_CALLS ?? 150);

const stop = 256;
const vocabulary = new Vocabulary({
  size: 257,
  textOf: (id) => (id < 256 ? Uint8Array.of(id) : "<end>"),
  isControl: (id) => id === stop,
  stopIds: [stop],
  encode: (text) => [...new TextEncoder().encode(text)],
});
afterAll(() => vocabulary.dispose());

const seeds = {
  pattern: [
    "^(?=.*[A-Z])(?=.*\\d).{8,64}$",
    "^(?!\\.)(?!.*\\.\\.)([\\w'+\\-.]*)\\w@(\\w+\\.)+[a-z]{2,}$",
    "(?:(?!--)[a-z-])+\\b",
    "(?<=^|,)\\p{L}{1,500}$",
    "((a{1,99}){1,99}){1,99}",
    "(a|b)*a(a|b){20}",
    "^[^\\s\\u{1F600}-\\u{1F64F}]*(?i:abc)$",
  ],
  ebnf: [
    'root ::= e\ne ::= e "+" t | t\nt ::= "(" e ")" | [0-9]+ ("." [0-9]{1,20})?',
    'root ::= "[" (v ("," v)*)? "]"\nv ::= "\\"" [^"\\\\\\n]* "\\"" | root | "null"',
    'root ::= (a | b)* c{2,9}\na ::= "x" b?\nb ::= "xy" | [a-zé-ü]{3}\nc ::= . | ""',
  ],
  lark: [
    'start: e\ne: e "+" t | t\nt: "(" e ")" | NUMBER\nNUMBER: /[0-9]+(\\.[0-9]{1,20})?/',
    'start: A ~ 1..3 B*\nA: ~"x" & /[a-z]{1,9}/\nB[lazy]: /.*/ "y"\n%ignore /[ \\n]+/',
    '%import common.INT\nstart: INT %regex {"substring_words": "the quick brown fox"} (a::0)\na::_: "b" a::incr(_) %if lt(_, 5) | ""',
  ],
};
const fragments = {
  pattern: [
    ..."()[]{}|*+?^$.\\-,1a",
    "(?=",
    "(?!",
    "(?<=",
    "(?<!",
    "(?:",
    "{1,99}",
    "{0,2000}",
    "\\b",
    "\\p{L}",
    "[^a]",
    "\\1",
    "\u{1F600}",
    "\0",
    "(.*)*",
  ],
  ebnf: [...'()[]{}|*+?.\\"#,1ra', "::=", "root", "\n", "{1,99}", "{0,2000}", "e", '""', "é", "\0", "[^", "\nx ::= "],
  lark: [
    ..."()[]{}|*+?.\\/~&<>@%#:,1aA",
    "start",
    "\n",
    "{1,99}",
    "{0,2000}",
    '""',
    "/.*/",
    "é",
    "\0",
    "~",
    "%lark {",
    "%json {}",
    "<[256]>",
    "[lazy]",
    "\nx: ",
  ],
};

type Kind = keyof typeof seeds;
const kinds = Object.keys(seeds) as Kind[];

/** A seed with parts put in, left out, doubled and nested, or bare fragments. */
const attacks = fc.constantFrom(...kinds).chain((kind) => {
  const bare = fc.array(fc.constantFrom(...fragments[kind]), { maxLength: 30 }).map((list) => list.join(""));
  const edit = fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(3), fc.constantFrom(...fragments[kind]), fc.nat(40));
  const mutated = fc
    .tuple(fc.constantFrom(...seeds[kind]), fc.array(edit, { maxLength: 3 }))
    .map(([seed, edits]) => edits.reduce(mutate, seed));
  const nested = fc.tuple(mutated, fc.constantFrom("(", "(?:", "(?=", "(?!"), fc.constantFrom(")", ")*", "){1,9}", ")?"), fc.nat(300));
  const deep = nested.map(([inner, open, close, times]) => `${open.repeat(times)}${inner}${close.repeat(times)}`);
  return fc
    .oneof({ weight: 5, arbitrary: mutated }, { weight: 2, arbitrary: bare }, { weight: 1, arbitrary: deep })
    .map((source) => ({ kind, source }));
});

function mutate(source: string, [place, what, fragment, length]: [number, number, string, number]): string {
  const at = Math.floor(place * source.length);
  const part = source.slice(at, at + length);
  if (what === 0) return source.slice(0, at) + source.slice(at + length);
  if (what === 1) return source.slice(0, at) + part.repeat(3) + source.slice(at);
  return source.slice(0, at) + fragment + source.slice(at);
}

const larkOf: Readonly<Record<Kind, (source: string) => string[]>> = {
  pattern: (source) => {
    const options = { name: "format.pattern", whole: false };
    const several = rustRegexes(source, options).map((one) => `/${one}/`);
    return [`start: T\nT: ${several.join(" & ")}`, `start: /${rustRegex(source, options)}/`];
  },
  ebnf: (source) => [larkOfEbnf(source)],
  lark: (source) => [checkLark(source)],
};

test("hostile patterns and grammars are refused in words or compiled, and hurt nobody else", async () => {
  const worst = { write: { ms: 0, source: "" }, compile: { ms: 0, source: "" }, step: { ms: 0, source: "" } };
  const time = (what: keyof typeof worst, begun: number, source: string) => {
    const ms = performance.now() - begun;
    if (ms > worst[what].ms) worst[what] = { ms, source: source.slice(0, 200) };
  };
  const answers = { compiled: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(attacks, async ({ kind, source }) => {
      try {
        const begun = performance.now();
        let written: string[];
        try {
          written = larkOf[kind](source);
        } finally {
          time("write", begun, source);
        }
        for (const lark of written) await follow(lark, source, time);
        answers.compiled++;
      } catch (cause) {
        if (!(cause instanceof JambaError) || cause.code !== "OPTION") throw cause;
        answers.refused++;
      }
    }),
    { numRuns: runs },
  );
  const matcher = await (await vocabulary.compile('start: "a" /[b-d]+/')).start();
  for (const id of [97, 98, 100, stop]) await matcher.accept(id);
  matcher.dispose();
  expect(answers.compiled).toBeGreaterThan(runs / 20);
  if (process.env.JAMBA_FUZZ_CALLS)
    process.stderr.write(`${JSON.stringify({ ...answers, worst, bytes: await vocabulary.memoryBytes() }, null, 2)}\n`);
}, 4_000_000);

/** Some steps of an answer, each with the first letter that may come. */
async function follow(
  lark: string,
  source: string,
  time: (what: "compile" | "step", begun: number, source: string) => void,
): Promise<void> {
  let begun = performance.now();
  const compiling = vocabulary.compile(lark);
  const compiled = await compiling.finally(() => time("compile", begun, source));
  const matcher = await compiled.start();
  try {
    for (let step = 0; step < 8 && !matcher.ended; step++) {
      begun = performance.now();
      const bits = await matcher.allowed().finally(() => time("step", begun, source));
      const id = [stop, ...'axbAN0("[', ...Array.from({ length: 256 }, (_, byte) => byte)]
        .map((one) => (typeof one === "string" ? one.charCodeAt(0) : one))
        .slice(step < 4 ? 1 : 0)
        .find((one) => (bits[one >> 5] >>> (one & 31)) & 1);
      if (id === undefined) break;
      await matcher.accept(id);
    }
  } finally {
    matcher.dispose();
  }
}
