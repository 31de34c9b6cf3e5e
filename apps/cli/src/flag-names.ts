// What the library says of its options, in the words of a command line.

import type { Flags, FlagValues } from "./flags.ts";

/** Options whose flags are not their names in kebab case; of several flags those that were given count. */
const renamed: Readonly<Record<string, readonly string[]>> = {
  addBos: ["bos"],
  apiKeys: ["api-key"],
  "cache.dir": ["slots"],
  format: ["json-schema", "regex", "grammar"],
  "format.grammar": ["grammar"],
  "format.pattern": ["regex"],
  "format.schema": ["json-schema"],
  "limits.sequences": ["parallel"],
  memoryBytes: ["memory"],
  requestTimeoutMs: ["timeout"],
  slotsDir: ["slots"],
  topLogprobs: ["logprobs"],
  xtc: ["xtc-probability", "xtc-threshold"],
  dry: ["dry-multiplier", "dry-base", "dry-allowed-length", "dry-last-n"],
};

/** Names that no prose has; a plain word is an option only where the message begins with it, or after "pass". */
const names = /(^|\bpass |(?<=[\s(]))([a-z]\w*(?:\.[a-z]\w*)*)(?=$|[\s:;,).[])/g;

/**
 * Names of options become flags of the command, as far as it has them: "contextLength" is "--context-length".
 *
 * @param given flags that were given, which tell what an option of several flags came from
 */
export function inFlags(message: string, flags: Flags, given: FlagValues): string {
  return message.replace(names, (text: string, before: string, name: string, at: number) => {
    const isPlain = !/[A-Z.]/.test(name);
    if (isPlain && before === "" && !(at === 0 && /^[:[]/.test(message.slice(name.length)))) return text;
    const found = flagOf(name, flags, given);
    // Some messages name the flag themselves.
    return found === undefined || message.includes(`(--${found.flag}`) ? text : `${before}--${found.flag}${found.rest}`;
  });
}

/** With what stands behind the option's own name, as in "format.schema.type". */
function flagOf(name: string, flags: Flags, given: FlagValues): { flag: string; rest: string } | undefined {
  const parts = name.split(".");
  for (let count = parts.length; count > 0; count--) {
    const option = parts.slice(0, count).join(".");
    const candidates = renamed[option] ?? [option.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replaceAll(".", "-")];
    const known = candidates.filter((one) => Object.hasOwn(flags, one));
    const flag = known.find((one) => given[one] !== undefined) ?? known[0];
    if (flag !== undefined) return { flag, rest: ["", ...parts.slice(count)].join(".") };
  }
  return undefined;
}
