// Which parts of a grammar become terminals of llguidance. Its lexer takes the longest text that any terminal allowed at a place
// matches, and looks back at no shorter one. So a part is a terminal only where that is never too long: where it matches and another
// that is allowed at the same place would go on, no text may go on in the grammar with the same byte. A part for which that can't be
// shown is taken apart, down to single characters, of which no two are of different lengths.

import { alphabetOf } from "../regex/alphabet.ts";
import { choice, isNothing, isNullable, type Node, otherPart, repeat, sequence, Unwritable } from "../regex/nodes.ts";
import { Lexers, type Unit } from "./lexers.ts";
import type { Part, Rule } from "./read-ebnf.ts";

/** Parts that are terminals: a part, or the body of a rule that stands for a name. */
export type Terminals = ReadonlyMap<Part, Node>;

/** Characters that a terminal may stand for, repetitions not counted; more where nothing stands beside it. */
const maxSize = 2000;
const maxWholeSize = 100_000;
const maxRounds = 60;

/** @returns the terminals at which `root` can be read exactly */
export function terminalsOf(rules: readonly Rule[]): Terminals {
  const regular = new Regular(rules);
  // Nothing stands beside it or follows it.
  const whole = regular.of(rules[0].part, maxWholeSize);
  if (whole) return new Map([[rules[0].part, whole]]);
  const apart = new Set<Part>();
  try {
    for (let round = 0; round < maxRounds; round++) {
      const terminals = new Map<Part, Node>();
      const clashes = new Flow(rules, regular, apart, terminals).clashes();
      if (clashes.size === 0) return terminals;
      for (const part of clashes) apart.add(part);
    }
  } catch (cause) {
    if (!(cause instanceof Unwritable)) throw cause;
  }
  // Too large to look at closely: every character by itself is exact too, only slow.
  const terminals = new Map<Part, Node>();
  new Flow(rules, regular, undefined, terminals);
  return terminals;
}

/** The parts that name no rule which names itself, as trees. */
class Regular {
  readonly #rules: ReadonlyMap<string, Rule>;
  readonly #known = new Map<Part, { node: Node; size: number } | undefined>();

  constructor(rules: readonly Rule[]) {
    this.#rules = new Map(rules.map((rule) => [rule.name, rule]));
  }

  rule(name: string): Part {
    return this.#rules.get(name)!.part;
  }

  /** undefined for a part that is not regular, or too large. */
  of(part: Part, limit = maxSize): Node | undefined {
    const found = this.#find(part);
    return found && found.size <= limit ? found.node : undefined;
  }

  #find(part: Part): { node: Node; size: number } | undefined {
    if (this.#known.has(part)) return this.#known.get(part);
    this.#known.set(part, undefined); // whoever comes here again names itself
    const found = this.#build(part);
    const kept = found && found.size <= maxWholeSize ? found : undefined;
    this.#known.set(part, kept);
    return kept;
  }

  #build(part: Part): { node: Node; size: number } | undefined {
    if (part.kind === "set") return { node: { kind: "set", ranges: part.ranges }, size: 1 };
    if (part.kind === "rule") return this.#find(this.rule(part.name));
    if (part.kind === "repeat") {
      const inner = this.#find(part.part);
      return inner && { node: repeat(inner.node, part.min, part.max), size: inner.size + 1 };
    }
    const inner = part.parts.map((one) => this.#find(one));
    if (inner.includes(undefined)) return undefined;
    const nodes = inner.map((one) => one!.node);
    const size = inner.reduce((sum, one) => sum + one!.size, 1);
    return { node: part.kind === "sequence" ? sequence(nodes) : choice(nodes), size };
  }
}

interface Span {
  readonly nullable: boolean;
  readonly first: ReadonlySet<number>;
  readonly last: ReadonlySet<number>;
}

const nowhere: ReadonlySet<number> = new Set();
const maxPlaces = 1500;

/** Terminals at the places where they stand, and which may follow which. */
class Flow {
  readonly #regular: Regular;
  readonly #apart: ReadonlySet<Part> | undefined;
  readonly #terminals: Map<Part, Node>;
  /** The terminal of each place. */
  readonly #places: Part[] = [];
  readonly #placeOf = new Map<Part, number>();
  readonly #follow: Set<number>[] = [];
  readonly #spans = new Map<Part, Span>();
  /** Of rules, as far as known: those that name themselves are asked for before they are done. */
  readonly #bodies = new Map<Part, Span>();
  readonly #root: Part;
  #first = nowhere;

  /** @param apart parts that are no terminals; all but single characters where it's undefined */
  constructor(rules: readonly Rule[], regular: Regular, apart: ReadonlySet<Part> | undefined, terminals: Map<Part, Node>) {
    this.#regular = regular;
    this.#apart = apart;
    this.#terminals = terminals;
    this.#root = rules[0].part;
    const seen = new Set<Part>();
    const lay = (part: Part): void => {
      if (seen.has(part)) return;
      seen.add(part);
      const body = part.kind === "rule" ? regular.rule(part.name) : part;
      const node = this.#terminal(body);
      if (node) terminals.set(body, node);
      else if (part.kind === "rule") lay(body);
      else if (part.kind === "repeat") lay(part.part);
      else if (part.kind !== "set") part.parts.forEach(lay);
    };
    lay(this.#root);
  }

  #terminal(body: Part): Node | undefined {
    if (body.kind !== "set" && (this.#apart === undefined || this.#apart.has(body))) return undefined;
    return this.#regular.of(body);
  }

  /** Terminals that would swallow what is not theirs. */
  clashes(): ReadonlySet<Part> {
    for (let before = ""; ; ) {
      this.#spans.clear();
      const now = this.#spread();
      if (now === before) break;
      before = now;
    }
    const units = this.#places;
    const nodes = units.map((part) => otherPart(this.#terminals.get(part)!));
    const lexers = new Lexers(alphabetOf(sequence(nodes)));
    const read = nodes.map((node) => lexers.unit(node));
    const tooLarge = units.filter((_, i) => !read[i]);
    return tooLarge.length > 0 ? new Set(tooLarge) : this.#compare(read as Unit[]);
  }

  #compare(units: readonly Unit[]): Set<Part> {
    const clashes = new Set<Part>();
    const followBytes = this.#follow.map((places) => [...places].reduce((bytes, place) => bytes | units[place].firstBytes, 0n));
    const seen = new Set<number>();
    const open: [number, number][] = [];
    const together = (these: ReadonlySet<number>, those: ReadonlySet<number>) => {
      for (const a of these)
        for (const b of those) {
          const key = Math.min(a, b) * maxPlaces + Math.max(a, b);
          if (seen.has(key)) continue;
          seen.add(key);
          open.push([a, b]);
        }
    };
    together(this.#first, this.#first);
    for (let pair = open.pop(); pair; pair = open.pop()) {
      const [a, b] = pair;
      const { aGoesOn, bGoesOn, same } = units[a].beside(units[b], followBytes[a], followBytes[b]);
      if (bGoesOn) clashes.add(this.#places[b]);
      if (aGoesOn) clashes.add(this.#places[a]);
      if (same) together(this.#follow[a], this.#follow[b]);
    }
    return clashes;
  }

  /** Once over all rules that are reached. @returns how much is known, which no longer changes at the end */
  #spread(): string {
    const within = new Set<Part>();
    const visit = (part: Part): Span => {
      const body = part.kind === "rule" ? this.#regular.rule(part.name) : part;
      if (within.has(body)) return this.#bodies.get(body) ?? { nullable: false, first: nowhere, last: nowhere };
      const done = this.#spans.get(body);
      if (done) return done;
      within.add(body);
      const span = this.#span(body, visit);
      within.delete(body);
      this.#spans.set(body, span);
      if (part.kind === "rule" || body === this.#root) this.#bodies.set(body, span);
      return span;
    };
    this.#first = visit(this.#root).first;
    const sizes = [...this.#bodies.values()].map(({ nullable, first, last }) => `${nullable} ${first.size} ${last.size}`);
    return `${sizes};${this.#follow.map((places) => places.size)}`;
  }

  #span(body: Part, visit: (part: Part) => Span): Span {
    const node = this.#terminals.get(body);
    if (node) return this.#leaf(body, node);
    if (body.kind === "set" || body.kind === "rule") return visit(body);
    if (body.kind === "repeat") {
      const inner = visit(body.part);
      if (body.max > 1) this.#join(inner.last, inner.first);
      return body.max === 0 ? { nullable: true, first: nowhere, last: nowhere } : { ...inner, nullable: body.min === 0 || inner.nullable };
    }
    const inner = body.parts.map(visit);
    if (body.kind === "choice")
      return {
        nullable: inner.some(({ nullable }) => nullable),
        first: union(inner.map(({ first }) => first)),
        last: union(inner.map(({ last }) => last)),
      };
    let whole: Span = { nullable: true, first: nowhere, last: nowhere };
    for (const next of inner) {
      this.#join(whole.last, next.first);
      whole = {
        nullable: whole.nullable && next.nullable,
        first: whole.nullable ? union([whole.first, next.first]) : whole.first,
        last: next.nullable ? union([whole.last, next.last]) : next.last,
      };
    }
    return whole;
  }

  /** A terminal is one place wherever it is named: what follows it anywhere follows it everywhere. */
  #leaf(body: Part, node: Node): Span {
    const nullable = isNullable(node);
    if (isNothing(otherPart(node))) return { nullable, first: nowhere, last: nowhere };
    let place = this.#placeOf.get(body);
    if (place === undefined) {
      place = this.#places.push(body) - 1;
      if (place >= maxPlaces) throw new Unwritable("too many terminals");
      this.#placeOf.set(body, place);
      this.#follow.push(new Set());
    }
    const here = new Set([place]);
    return { nullable, first: here, last: here };
  }

  #join(before: ReadonlySet<number>, after: ReadonlySet<number>): void {
    for (const place of before) for (const next of after) this.#follow[place].add(next);
  }
}

function union(sets: readonly ReadonlySet<number>[]): ReadonlySet<number> {
  const filled = sets.filter(({ size }) => size > 0);
  return filled.length === 1 ? filled[0] : new Set(filled.flatMap((one) => [...one]));
}
