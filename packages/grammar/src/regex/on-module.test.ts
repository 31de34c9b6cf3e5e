import fc from "fast-check";
import { afterAll, test } from "vitest";
import { Vocabulary } from "../vocabulary.ts";
import { rustRegexes } from "./rust-regex.ts";

const runs = Number(process.env.JAMBA_FUZZ_CALLS ?? 40);

/** All bytes and the end. */
const stop = 256;
const bytesOf = (text: string) => [...new TextEncoder().encode(text)];
const vocabulary = new Vocabulary({
  size: 257,
  textOf: (id) => (id < 256 ? Uint8Array.of(id) : "<end>"),
  isControl: (id) => id === stop,
  stopIds: [stop],
  encode: bytesOf,
});
afterAll(() => vocabulary.dispose());

async function accepts(lark: string, text: string): Promise<boolean> {
  const matcher = await (await vocabulary.compile(lark)).start();
  try {
    for (const id of [...bytesOf(text), stop]) await matcher.accept(id);
    return true;
  } catch {
    return false;
  } finally {
    matcher.dispose();
  }
}

const atoms = fc.constantFrom(
  ...'a b 😀 - . \\d \\s \\S \\w [^a] [a-é] [\\s\\S] [^] \\n / \\/ " \\\\ \\u2028 \\p{L} ^ $ \\b (?=a) (?!b) (?<!a) (?<=-)'.split(" "),
);
const counted = fc
  .tuple(atoms, fc.constantFrom("", "", "*", "+?", "?", "{1,2}"))
  .map(([atom, count]) => (/^\(|^[\^$]|^\\b/.test(atom) ? atom : atom + count));
const branches = fc.array(counted, { maxLength: 4 }).map((list) => list.join(""));
const patterns = fc.oneof(
  branches,
  fc.tuple(branches, branches, branches, fc.constantFrom("", "*", "{2}")).map(([a, b, c, count]) => `${a}(${b}|${c})${count}`),
);
const texts = fc
  .array(fc.constantFrom("a", "b", "é", "😀", "-", " ", "\n", "\r", "/", '"', "\\", "\u2028", "\u0085", "\ufeff", "3", "٣"), {
    maxLength: 4,
  })
  .map((parts) => parts.join(""));

/** None for what is refused as too large. */
function written(pattern: string): readonly string[] {
  try {
    return rustRegexes(pattern, { name: "pattern", whole: false });
  } catch (cause) {
    if (/look-around that takes more/.test((cause as Error).message)) return [];
    throw cause;
  }
}

test("the module takes for a pattern what JavaScript does, in Lark and in a schema", async () => {
  await fc.assert(
    fc.asyncProperty(patterns, fc.array(texts, { minLength: 6, maxLength: 6 }), async (pattern, some) => {
      const [first, ...more] = written(pattern);
      if (first === undefined) return;
      const lark = `start: T\nT: ${[first, ...more].map((one) => `/${one}/`).join(" & ")}`;
      const schema = { type: "string", pattern: first, ...(more.length > 0 && { allOf: more.map((one) => ({ pattern: one })) }) };
      const theirs = new RegExp(pattern, "u");
      for (const text of ["a", ...some]) {
        const expected = theirs.test(text);
        const found = [
          await accepts(lark, text),
          await accepts(`start: %json ${JSON.stringify(schema)}`, JSON.stringify(text)).catch(() => false),
        ];
        if (found.some((one) => one !== expected))
          throw new Error(`${theirs} on ${JSON.stringify(text)}: ${expected}, the module: ${found}; ${lark}`);
      }
    }),
    { numRuns: runs },
  );
});
