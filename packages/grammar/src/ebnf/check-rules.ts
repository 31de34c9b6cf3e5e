// What makes a grammar of no use before anything is written: names without rules, and rules that no text ends.

import { fail, type Part, type Rule } from "./read-ebnf.ts";

/** llguidance calls itself for each rule that another names. */
const maxRules = 1000;

/** @returns the rules that `root` leads to, itself first @throws JambaError OPTION */
export function checkRules(rules: ReadonlyMap<string, Rule>): readonly Rule[] {
  const root = rules.get("root");
  if (!root) return fail(1, "a rule named root", rules.size === 0 ? "no rules" : `${[...rules.keys()].slice(0, 5).join(", ")}`);
  for (const { name, part } of rules.values())
    for (const { name: other, line } of namesIn(part))
      if (!rules.has(other)) fail(line, "names of rules", `${other} in ${name}, which is none`);
  const reached = new Set([root]);
  for (const { part } of reached) for (const { name } of namesIn(part)) reached.add(rules.get(name)!);
  if (reached.size > maxRules) fail(1, `at most ${maxRules} rules`, `${reached.size}`);
  checkEnds([...reached]);
  return [...reached];
}

function* namesIn(part: Part): Generator<Extract<Part, { kind: "rule" }>> {
  if (part.kind === "rule") yield part;
  else if (part.kind === "repeat") yield* namesIn(part.part);
  else if (part.kind !== "set") for (const one of part.parts) yield* namesIn(one);
}

/** Each rule must have a text of its own that ends: `a ::= "x" a` has none. */
function checkEnds(rules: readonly Rule[]): void {
  const ending = new Set<string>();
  const ends = (part: Part): boolean => {
    if (part.kind === "rule") return ending.has(part.name);
    if (part.kind === "sequence") return part.parts.every(ends);
    if (part.kind === "choice") return part.parts.some(ends);
    return part.kind === "set" || part.min === 0 || ends(part.part);
  };
  for (let before = -1; before < ending.size; ) {
    before = ending.size;
    // Rules mostly name those that come later.
    for (const { name, part } of rules.toReversed()) if (!ending.has(name) && ends(part)) ending.add(name);
  }
  const endless = rules.find(({ name }) => !ending.has(name));
  if (endless) fail(endless.line, "rules that can end", `${endless.name}, which only leads to itself again`);
}
