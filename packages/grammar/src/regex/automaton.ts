// Trees with tests of a place as deterministic automata. A state is a formula over the places where a match may be: look-ahead asks
// for several at once, or that one is none. What looks behind is followed from the beginning and known at each place.

import { type Alphabet, alphabetOf } from "./alphabet.ts";
import { words } from "./code-points.ts";
import { always, type Formula, Formulas, never } from "./formulas.ts";
import { anyText, type Node, sequence, Unwritable } from "./nodes.ts";
import { type Place, Places } from "./places.ts";

export interface Automaton {
  readonly alphabet: Alphabet;
  readonly start: number;
  /** By state and letter. */
  readonly next: readonly (readonly number[])[];
  readonly accepts: readonly boolean[];
}

const maxStates = 600;
/** Stands for the end of the text; behind all places. */
const end = 2 ** 16;

/** What is known of a place in the text: all that lies before it. */
interface Before {
  readonly isStart: boolean;
  readonly isWord: boolean;
  /** Of each look-behind, the places where it may be, and whether it matches up to here. */
  readonly behind: readonly { readonly places: ReadonlySet<number>; readonly matches: boolean }[];
}

/** @throws Unwritable */
export function automatonOf(node: Node): Automaton {
  return new Builder(node).build();
}

class Builder {
  readonly #alphabet: Alphabet;
  readonly #places = new Places();
  readonly #formulas = new Formulas();
  readonly #first: number;
  readonly #behinds: { first: number; last: number }[] = [];
  readonly #behindOf = new Map<Node, number>();
  readonly #aheads = new Map<Node, number>();
  readonly #wordNext: number;
  readonly #wordLetters: Uint8Array;
  /** By what is known of a place in the text, then by place of the tree. */
  readonly #closures = new Map<string, Map<number, Formula>>();

  constructor(node: Node) {
    this.#alphabet = alphabetOf(sequence([node, anyText]));
    const last = this.#places.add();
    this.#places.list[last].isEnd = true;
    this.#first = this.#places.build(node, last, this.#alphabet);
    this.#wordLetters = this.#alphabet.lettersOf(words);
    const matched = this.#matched();
    this.#wordNext = this.#places.add({ letters: this.#wordLetters, to: matched });
    this.#addLooks();
  }

  /** A place from which any rest will do. */
  #matched(): number {
    const place = this.#places.add();
    this.#places.list[place].isMatched = true;
    return place;
  }

  /** Looks are built when they are met, those within others after them. */
  #addLooks(): void {
    for (let i = 0; i < this.#places.list.length; i++)
      for (const { test } of this.#places.list[i].edges) {
        if (test?.kind !== "look" || this.#aheads.has(test) || this.#behindOf.has(test)) continue;
        const last = test.behind ? this.#places.add() : this.#matched();
        const first = this.#places.build(test.node, last, this.#alphabet);
        if (!test.behind) this.#aheads.set(test, first);
        else {
          checkBehind(test.node);
          this.#behindOf.set(test, this.#behinds.push({ first, last }) - 1);
        }
      }
  }

  build(): Automaton {
    const { letters } = this.#alphabet;
    const states: { formula: Formula; before: Before }[] = [];
    const known = new Map<string, number>();
    const next: number[][] = [];
    const stateOf = (formula: Formula, before: Before): number => {
      const key = formula <= always ? String(formula) : `${formula}|${before.behind.map(({ places }) => [...places].sort()).join("|")}`;
      const old = known.get(key);
      if (old !== undefined) return old;
      if (states.length >= maxStates) throw new Unwritable(`look-around that takes more than ${maxStates} states to follow`);
      known.set(key, states.length);
      return states.push({ formula, before }) - 1;
    };
    const begun = this.#enter({ isStart: true, isWord: false, behind: [] }, undefined);
    stateOf(this.#closure(this.#first, begun), begun);
    for (let state = 0; state < states.length; state++) {
      const { formula, before } = states[state];
      next.push(
        letters.map((_, letter) => {
          if (formula <= always) return state;
          const after = this.#enter(before, letter);
          return stateOf(
            this.#formulas.replace(formula, (place) => this.#step(place, letter, after)),
            after,
          );
        }),
      );
    }
    const accepts = states.map(({ formula }) => this.#formulas.replace(formula, (place) => (place === end ? always : never)) === always);
    return { alphabet: this.#alphabet, start: 0, next, accepts };
  }

  #step(place: number, letter: number, after: Before): Formula {
    if (place === end) return never;
    const { letters, to } = this.#places.list[place].step!;
    return letters[letter] ? this.#closure(to, after) : never;
  }

  /** What is known one letter on. */
  #enter(before: Before, letter: number | undefined): Before {
    const isStart = letter === undefined;
    const after = { isStart, isWord: letter !== undefined && this.#wordLetters[letter] === 1, behind: [] as Before["behind"][number][] };
    // Those within others were built after them, so they are known first.
    for (let i = this.#behinds.length - 1; i >= 0; i--) {
      const { first, last } = this.#behinds[i];
      const open = [first];
      for (const place of before.behind[i]?.places ?? []) {
        const { step } = this.#places.list[place];
        if (step && letter !== undefined && step.letters[letter]) open.push(step.to);
      }
      const places = new Set(open);
      for (const place of places)
        for (const { to, test } of this.#places.list[place].edges) if (this.#holdsBehind(test, after)) places.add(to);
      after.behind[i] = { places, matches: places.has(last) };
    }
    return after;
  }

  #holdsBehind(test: Node | undefined, { isStart, behind }: Before): boolean {
    if (!test) return true;
    if (test.kind === "start") return isStart;
    return test.kind === "look" && behind[this.#behindOf.get(test)!].matches !== test.negated;
  }

  /** What must hold from here on for a match that is at `place`. */
  #closure(place: number, before: Before): Formula {
    const key = `${before.isStart}${before.isWord}${before.behind.map(({ matches }) => matches)}`;
    const closures = this.#closures.get(key) ?? new Map<number, Formula>();
    this.#closures.set(key, closures);
    const known = closures.get(place);
    if (known !== undefined) return known;
    const { list } = this.#places;
    const reached = new Map<number, Formula>([[place, always]]);
    const open = [place];
    let found: Formula = never;
    for (let from = open.pop(); from !== undefined; from = open.pop()) {
      const here = reached.get(from)!;
      for (const { to, test } of list[from].edges) {
        const old = reached.get(to) ?? never;
        const both = this.#formulas.or(old, this.#formulas.and(here, this.#holds(test, before)));
        if (both === old) continue;
        reached.set(to, both);
        open.push(to);
      }
    }
    for (const [at, formula] of reached) found = this.#formulas.or(found, this.#formulas.and(formula, this.#wants(at, list[at])));
    closures.set(place, found);
    return found;
  }

  #wants(at: number, { isMatched, isEnd, step }: Place): Formula {
    if (isMatched) return always;
    if (isEnd) return this.#formulas.variable(end);
    return step ? this.#formulas.variable(at) : never;
  }

  #holds(test: Node | undefined, before: Before): Formula {
    if (!test) return always;
    if (test.kind === "start") return before.isStart ? always : never;
    if (test.kind === "end") return this.#formulas.variable(end);
    if (test.kind === "boundary") {
      const wordNext = this.#formulas.variable(this.#wordNext);
      return before.isWord === test.negated ? wordNext : this.#formulas.not(wordNext);
    }
    if (test.kind !== "look") return never;
    if (test.behind) return before.behind[this.#behindOf.get(test)!].matches !== test.negated ? always : never;
    const ahead = this.#closure(this.#aheads.get(test)!, before);
    return test.negated ? this.#formulas.not(ahead) : ahead;
  }
}

/** What looks ahead from within what looks behind may see past the place itself. */
function checkBehind(node: Node): void {
  if (node.kind === "end" || node.kind === "boundary" || (node.kind === "look" && !node.behind))
    throw new Unwritable("$, \\b or look-ahead within look-behind");
  if (node.kind === "sequence" || node.kind === "choice") node.nodes.forEach(checkBehind);
  else if ("node" in node) checkBehind(node.node);
}
