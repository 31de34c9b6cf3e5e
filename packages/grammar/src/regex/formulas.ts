// Formulas of yes and no over numbered variables, as binary decision diagrams: two that mean the same are the same number.

import { Unwritable } from "./nodes.ts";

export type Formula = number;
export const never: Formula = 0;
export const always: Formula = 1;

/** Keys of three numbers stay whole numbers below 2^53. */
const maxFormulas = 2 ** 17;
/** A few tens of milliseconds. */
const maxSteps = 150_000;

export class Formulas {
  readonly #variable = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  readonly #yes = [0, 1];
  readonly #no = [0, 1];
  readonly #known = new Map<number, Formula>();
  readonly #choices = new Map<number, Formula>();
  #steps = 0;

  /** Variables are below 2^17. */
  variable(variable: number): Formula {
    return this.#node(variable, always, never);
  }

  and(a: Formula, b: Formula): Formula {
    return this.choose(a, b, never);
  }

  or(a: Formula, b: Formula): Formula {
    return this.choose(a, always, b);
  }

  not(a: Formula): Formula {
    return this.choose(a, never, always);
  }

  /** `then` where `test` holds, else `other`. */
  choose(test: Formula, then: Formula, other: Formula): Formula {
    if (test === always || then === other) return then;
    if (test === never) return other;
    if (then === always && other === never) return test;
    const key = (test * maxFormulas + then) * maxFormulas + other;
    const before = this.#choices.get(key);
    if (before !== undefined) return before;
    if (++this.#steps > maxSteps) throw new Unwritable("look-around too tangled to follow");
    const top = Math.min(this.#variable[test], this.#variable[then], this.#variable[other]);
    const yes = (one: Formula) => (this.#variable[one] === top ? this.#yes[one] : one);
    const no = (one: Formula) => (this.#variable[one] === top ? this.#no[one] : one);
    const found = this.#node(top, this.choose(yes(test), yes(then), yes(other)), this.choose(no(test), no(then), no(other)));
    this.#choices.set(key, found);
    return found;
  }

  /** With each variable replaced by what stands for it. */
  replace(formula: Formula, by: (variable: number) => Formula): Formula {
    const done = new Map<Formula, Formula>([
      [never, never],
      [always, always],
    ]);
    const visit = (one: Formula): Formula => {
      const before = done.get(one);
      if (before !== undefined) return before;
      const found = this.choose(by(this.#variable[one]), visit(this.#yes[one]), visit(this.#no[one]));
      done.set(one, found);
      return found;
    };
    return visit(formula);
  }

  #node(variable: number, yes: Formula, no: Formula): Formula {
    if (yes === no) return yes;
    const key = (variable * maxFormulas + yes) * maxFormulas + no;
    const before = this.#known.get(key);
    if (before !== undefined) return before;
    const node = this.#variable.length;
    if (node >= maxFormulas) throw new Unwritable("look-around too tangled to follow");
    this.#variable.push(variable);
    this.#yes.push(yes);
    this.#no.push(no);
    this.#known.set(key, node);
    return node;
  }
}
