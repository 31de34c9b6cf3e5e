import fc from "fast-check";
import { expect, test } from "vitest";
import { rustRegex, rustRegexes } from "./rust-regex.ts";

const runs = Number(process.env.JAMBA_FUZZ_CALLS ?? 100);

const asJavascript = (written: string) => new RegExp(written.replaceAll("\\x{", "\\u{"), "u");

const letters = fc.constantFrom("a", "b", "-", ".", "[ab]", "\\w", "a*", "b?", "a{2}", ".*", "^");
/** Patterns of a few letters that test their places; what looks behind sees nothing of what follows. */
const { pattern: patterns } = fc.letrec<Record<"pattern" | "sequence" | "part" | "before" | "beforePart", string>>((tie) => ({
  pattern: fc.array(tie("sequence"), { minLength: 1, maxLength: 3 }).map((list) => list.join("|")),
  sequence: fc.array(tie("part"), { maxLength: 4 }).map((list) => list.join("")),
  part: fc.oneof(
    { maxDepth: 3 },
    { weight: 5, arbitrary: letters },
    { weight: 2, arbitrary: fc.constantFrom("\\b", "\\B", "$") },
    { weight: 2, arbitrary: looks(["(?=", "(?!"], tie("pattern")) },
    { weight: 2, arbitrary: looks(["(?<=", "(?<!"], tie("before")) },
    { weight: 2, arbitrary: counted(tie("pattern")) },
  ),
  before: fc.array(tie("beforePart"), { maxLength: 4 }).map((list) => list.join("")),
  beforePart: fc.oneof(
    { maxDepth: 3 },
    { weight: 5, arbitrary: letters },
    { weight: 1, arbitrary: fc.constantFrom("|") },
    { weight: 1, arbitrary: looks(["(?<=", "(?<!"], tie("before")) },
    { weight: 1, arbitrary: counted(tie("before")) },
  ),
}));

function looks(kinds: string[], inner: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(fc.constantFrom(...kinds), inner).map(([look, pattern]) => `${look}${pattern})`);
}

function counted(inner: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(inner, fc.constantFrom("", "*", "+", "?", "{2}")).map(([pattern, count]) => `(?:${pattern})${count}`);
}
const texts = fc.array(fc.constantFrom("a", "b", "-", "é", "\n"), { maxLength: 7 }).map((parts) => parts.join(""));

/** Whether what is refused says that it can't be followed exactly, and nothing else. */
function writtenAs(pattern: string, whole: boolean): { several: RegExp[]; one: RegExp[] } | undefined {
  const options = { name: "pattern", whole };
  try {
    return { several: rustRegexes(pattern, options).map(asJavascript), one: [asJavascript(rustRegex(pattern, options))] };
  } catch (cause) {
    expect((cause as Error).message).toMatch(/look-(around|behind)|only test its place/);
    return undefined;
  }
}

test("a pattern that looks around as written matches what JavaScript's does", () => {
  let refused = 0;
  fc.assert(
    fc.property(patterns, fc.array(texts, { minLength: 12, maxLength: 12 }), (pattern, some) => {
      for (const whole of [true, false]) {
        const ours = writtenAs(pattern, whole);
        if (!ours) refused++;
        const theirs = new RegExp(whole ? `^(?:${pattern})$` : pattern, "u");
        for (const text of ["", "a", "-a", ...some])
          for (const [name, list] of Object.entries(ours ?? {}))
            if (list.every((one) => one.test(text)) !== theirs.test(text))
              throw new Error(`${theirs} and ${name} ${list} differ on ${JSON.stringify(text)}`);
      }
    }),
    { numRuns: runs },
  );
  expect(refused).toBeLessThan(runs / 10);
});

test("patterns of the field are written", () => {
  const patterns = {
    password: "^(?=.*[a-z])(?=.*[A-Z])(?=.*\\d)(?=.*[@$!%*?&])[A-Za-z\\d@$!%*?&]{8,64}$",
    email: "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$",
    label: "^(?!-)[A-Za-z0-9-]{1,63}(?<!-)$",
    notFoo: "^((?!foo).)*$",
    word: "\\bfoo\\b",
    counted: "^(?:(?!foo|--)[a-z -]){2,200}$",
    notTooLong: "^(?![\\s\\S]{257})",
  };
  const texts = [
    "aB3$aB3$",
    "aaaaaaaa",
    "a@b.co",
    ".a@b.co",
    "a..b@c.de",
    "a-b",
    "-ab",
    "ab-",
    "a foo b",
    "afoob",
    "x".repeat(257),
    "x".repeat(256),
    "",
  ];
  for (const [name, pattern] of Object.entries(patterns)) {
    const ours = rustRegexes(pattern, { name, whole: false }).map(asJavascript);
    const theirs = new RegExp(pattern, "u");
    for (const text of texts)
      expect(
        ours.every((one) => one.test(text)),
        `${name} on ${text}`,
      ).toBe(theirs.test(text));
  }
});
