// Any text where a number is meant: an error of the command line that names the flag, or a command that does its work.

import { describe, expect, test } from "vitest";
import { jamba } from "../test/jamba.ts";
import { serve } from "./commands/serve.ts";
import { commonFlags, generateFlags } from "./flags.ts";

const texts = ["0", "-1", "0.5", "1.5", "NaN", "Infinity", "-Infinity", "1e999", "0x10", "", " 5", "1_000", "9007199254740993", "2592000"];
const more = ["2147483648", "30d", "0s", "0B", "1e-9"];

const isNumber = ([, { value = "" }]: [string, { value?: string }]) => /^(N|T|K|P|R|F|M|B|SIZE|TIME|SECONDS)$/.test(value);
const namesOf = (flags: object) =>
  Object.entries(flags)
    .filter(isNumber)
    .map(([name]) => name);

function expectSound(name: string, text: string, { code, stderr }: { code: number; stderr: string }): void {
  if (code === 0) return;
  // Of flags that make one option together the first stands for all.
  const [group] = name.split("-");
  const named = ["xtc", "dry"].includes(group) ? `${group}-[a-z-]+` : name;
  expect([name, text, code, stderr]).toEqual([name, text, 2, expect.stringMatching(new RegExp(`--${named}: expected .*, found`))]);
}

describe("of serve", () => {
  const ofLoad = namesOf(commonFlags);
  test.for(namesOf(serve.flags).filter((name) => !ofLoad.includes(name) && name !== "parallel"))(
    "--%s",
    { timeout: 60_000 },
    async (name) => {
      for (const text of [...texts, ...more]) {
        const port = name === "port" ? [] : ["--port", "0"];
        expectSound(name, text, await jamba(["serve", ...port, `--${name}=${text}`, "-q"], { interrupted: true }));
      }
    },
  );
});

describe("of run", () => {
  const beside: Record<string, string[]> = { xtc: ["--xtc-probability", "0.5"], dry: ["--dry-multiplier", "1"] };
  test.for(namesOf({ ...generateFlags, ...commonFlags }))("--%s", { timeout: 60_000 }, async (name) => {
    const [group] = name.split("-");
    const others = beside[group]?.[0] === `--${name}` ? [] : (beside[group] ?? []);
    const few = name === "max-tokens" ? ["--context-length", "20"] : ["-n", "1"];
    for (const text of [...texts, ...more]) {
      const found = await jamba(["run", "A fox", ...few, ...others, `--${name}=${text}`, "-q"]);
      // A context that nothing fits is told so.
      if (name === "context-length" && /at most --context-length/.test(found.stderr)) continue;
      expectSound(name, text, found);
    }
  });
});
