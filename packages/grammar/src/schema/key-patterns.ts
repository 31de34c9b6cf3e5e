// `patternProperties` whose patterns may meet: the engine takes patterns of which no key matches two.

import type { Expands } from "./emit-object.ts";
import type { Node } from "./nodes.ts";
import { escapeJs, wholePattern } from "./rust-pattern.ts";
import { type KeyPattern, type ObjectShape, propertyOf, type Sets, Unenforceable } from "./shapes.ts";

/** Patterns that are told apart one by one: of 3, there are 7 sets that a key may match. */
const maxMeeting = 3;

/** Listed keys that a pattern is written without; the engine goes through more of them itself. */
const maxExcluded = 12;

export interface RustKey {
  /** Of whole keys, in Rust's syntax. */
  readonly regex: string;
  readonly node: Node;
}

/**
 * An object whose patterns match no key that it lists: the engine would work out what both say of its value, and goes in circles where they
 * hold themselves.
 */
export function withoutListed(shape: ObjectShape, sets: Expands): ObjectShape {
  const isDeep = ({ node }: KeyPattern) => sets.expand(node).shapes.some(({ type }) => type === "array" || type === "object");
  if (!shape.patterns.some(isDeep)) return shape;
  const names = [...new Set([...shape.properties.keys(), ...shape.required])];
  const count = Math.max(...shape.patterns.map(({ source }) => names.filter((name) => sets.matches(source, name) !== false).length));
  if (count > maxExcluded) return shape;
  const properties = new Map(names.map((name) => [name, propertyOf(shape, name, sets)]));
  const patterns = shape.patterns.map((pattern) => {
    const found = names.filter((name) => sets.matches(pattern.source, name) !== false);
    if (found.length === 0 || !isDeep(pattern)) return pattern;
    return { ...pattern, source: `^(?!(?:${found.map(escapeJs).join("|")})$)[^]*?(?:${pattern.source})` };
  });
  const isUnsure = names.some((name) => shape.patterns.some(({ source }) => sets.matches(source, name) === undefined));
  if (isUnsure) throw new Unenforceable(shape.patterns[0].path, "patterns that can be told to match a listed key or not");
  return { ...shape, properties, patterns };
}

/** @throws Unenforceable where patterns may meet, and are too many or can't be written */
export function keysOf(patterns: readonly KeyPattern[], sets: Sets): RustKey[] {
  const alike = merged(patterns);
  const plain = () => alike.map(({ source, node, path }) => ({ regex: wholePattern(source, path), node }));
  const first = alike.find((one, i) => alike.some((other, j) => i !== j && !areApart(one.source, other.source)));
  if (!first) return plain();
  // The engine sees more of them apart than is plain here, and refuses the others.
  if (alike.length > maxMeeting && sets.strict) return plain();
  if (alike.length > maxMeeting) throw new Unenforceable(first.path, `at most ${maxMeeting} patterns of which a key may match several`);
  const keys: RustKey[] = [];
  for (let chosen = 1; chosen < 2 ** alike.length; chosen++) {
    const isChosen = (i: number) => ((chosen >> i) & 1) === 1;
    const looks = alike.map(({ source }, i) => `(?${isChosen(i) ? "=" : "!"}[^]*?(?:${source}))`);
    const node = sets.nodes.all(
      alike.filter((_, i) => isChosen(i)).map((pattern) => pattern.node),
      first.path,
    );
    keys.push({ regex: wholePattern(`^${looks.join("")}[^]*$`, first.path, true), node });
  }
  return keys;
}

/** Those that say the same of a value, as one. */
function merged(patterns: readonly KeyPattern[]): KeyPattern[] {
  const byNode = new Map<Node, KeyPattern>();
  for (const pattern of patterns) {
    const known = byNode.get(pattern.node);
    byNode.set(pattern.node, known ? { ...known, source: `(?:${known.source})|(?:${pattern.source})` } : pattern);
  }
  return [...byNode.values()];
}

/** Whether two patterns begin with other characters, both at the beginning of a key. */
function areApart(a: string, b: string): boolean {
  const [one, other] = [a, b].map(beginning);
  if (one === undefined || other === undefined) return false;
  const length = Math.min(one.length, other.length);
  return one.slice(0, length) !== other.slice(0, length);
}

/** The characters that every match begins with. */
function beginning(source: string): string | undefined {
  if (source.includes("|") || !source.startsWith("^")) return undefined;
  const plain = /^\^((?:[A-Za-z0-9_ -]|\\[.$/-])*)/.exec(source)?.[1] ?? "";
  const isOptional = /^[*?{+]/.test(source.slice(1 + plain.length));
  const isWhole = source.length === 2 + plain.length && source.endsWith("$");
  if (isWhole) return `${plain.replaceAll("\\", "")}\n`; // which ends it
  return (isOptional ? plain.replace(/(?:\\.|.)$/, "") : plain).replaceAll("\\", "");
}
