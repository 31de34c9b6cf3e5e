// EBNF as llguidance's Lark, which matches the same texts.

import { isNothing, isNullable, type Node, otherPart, Unwritable, withinBounds } from "../regex/nodes.ts";
import { writeRegex } from "../regex/write-regex.ts";
import { checkRules } from "./check-rules.ts";
import { fail, type Part, type Rule, readEbnf } from "./read-ebnf.ts";
import { type Terminals, terminalsOf } from "./terminals.ts";

/** Characters of what is written. */
const maxWritten = 500_000;
/** Groups within groups that llguidance's reader takes (30), less some. */
const maxDepth = 12;

/**
 * @param grammar rules of GBNF's syntax, from `root` on
 * @returns Lark, from `start` on
 * @throws JambaError OPTION with the line of what is wrong
 */
export function larkOfEbnf(grammar: string): string {
  try {
    const rules = checkRules(readEbnf(grammar));
    return withinBounds(() => new Writer(rules, terminalsOf(rules)).write());
  } catch (cause) {
    if (cause instanceof Unwritable) return fail(1, "a grammar that can be written as Lark", cause.message);
    // Each rule that another names is one more call on the stack.
    if (cause instanceof RangeError) return fail(1, "rules that lead through fewer others", "ones of too many levels");
    throw cause;
  }
}

class Writer {
  readonly #rules: ReadonlyMap<string, Rule>;
  readonly #terminals: Terminals;
  readonly #names = new Map<Part, string>();
  readonly #lines: string[] = [];
  readonly #open: [name: string, part: Part][] = [];
  #size = 0;

  constructor(rules: readonly Rule[], terminals: Terminals) {
    this.#rules = new Map(rules.map((rule) => [rule.name, rule]));
    this.#terminals = terminals;
  }

  write(): string {
    this.#put(`start: ${this.#reference(this.#rules.get("root")!.part)}`);
    for (let next = this.#open.pop(); next; next = this.#open.pop()) this.#put(`${next[0]}: ${this.#body(next[1], 0)}`);
    return `${this.#lines.join("\n")}\n`;
  }

  #put(line: string): void {
    this.#size += line.length;
    if (this.#size > maxWritten) throw new Unwritable(`one of more than ${maxWritten} characters`);
    this.#lines.push(line);
  }

  /** The name of a part that has a line of its own. */
  #reference(part: Part): string {
    const terminal = this.#terminals.get(part);
    if (terminal) return this.#terminal(part, terminal);
    const before = this.#names.get(part);
    if (before) return before;
    const name = `r${this.#names.size}`;
    this.#names.set(part, name);
    this.#open.push([name, part]);
    return name;
  }

  #terminal(part: Part, node: Node): string {
    const some = otherPart(node);
    if (isNothing(some)) return '""';
    let name = this.#names.get(part);
    if (!name) {
      name = `T${this.#names.size}`;
      this.#names.set(part, name);
      this.#put(`${name}: /${writeRegex(some, maxWritten)}/`);
    }
    return isNullable(node) ? `${name}?` : name;
  }

  #body(part: Part, depth: number): string {
    if (this.#terminals.has(part)) return this.#reference(part);
    if (part.kind === "rule") return this.#reference(this.#rules.get(part.name)!.part);
    if (part.kind === "sequence") return part.parts.length === 0 ? '""' : part.parts.map((one) => this.#within(one, depth)).join(" ");
    if (part.kind === "choice") return part.parts.map((one) => this.#within(one, depth)).join(" | ");
    if (part.kind === "set" || part.max === 0) return '""';
    return `${this.#group(part.part, depth)}${countText(part.min, part.max)}`;
  }

  #within(part: Part, depth: number): string {
    return part.kind === "choice" && !this.#terminals.has(part) ? this.#group(part, depth) : this.#body(part, depth);
  }

  #group(part: Part, depth: number): string {
    return depth >= maxDepth ? this.#reference(part) : `(${this.#body(part, depth + 1)})`;
  }
}

function countText(min: number, max: number): string {
  if (max === Number.POSITIVE_INFINITY) return min === 0 ? "*" : min === 1 ? "+" : `{${min},}`;
  return min === 0 && max === 1 ? "?" : `{${min},${max}}`;
}
