// Names and what they stand for, while a template runs.

import { itemSteps, spend } from "./budget.ts";
import { strftime } from "./strftime.ts";
import { tupleName } from "./tokens.ts";
import { type Callable, type Dict, each, fail, itemsOf, Namespace, numberOf, str, tuple, Undefined, type Value, view } from "./values.ts";

export class Scope {
  readonly #names = new Map<string, Value>();
  readonly #outer: Scope | undefined;

  constructor(outer?: Scope) {
    this.#outer = outer;
  }

  get(name: string): Value {
    for (let scope: Scope | undefined = this; scope; scope = scope.#outer) {
      const found = scope.#names.get(name);
      if (found !== undefined) return found;
    }
    return new Undefined(`'${name}'`);
  }

  set(name: string, value: Value): void {
    this.#names.set(name, value);
  }
}

/** What Jinja has in every template, and transformers besides. */
export const globals: Readonly<Record<string, Callable>> = {
  [tupleName]: (items) => tuple(items),
  range: (args) => {
    const [a = 0, b, step = 1] = args.map((arg) => Number(numberOf(arg) ?? fail("range: expected integers")));
    const [from, to] = b === undefined ? [0, a] : [a, b];
    if (step === 0) return fail("range() arg 3 must not be zero");
    const count = Math.max(0, Math.ceil((to - from) / step));
    // The limit of Jinja's sandbox.
    if (count > 100_000) return fail(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).`);
    spend(itemSteps * count);
    const items = Array.from({ length: count }, (_, i) => from + i * step);
    return view(items, step === 1 ? `range(${from}, ${to})` : `range(${from}, ${to}, ${step})`);
  },
  dict: (args, kwargs) => new Map([...entriesOf(args[0]), ...kwargs]),
  namespace: (args, kwargs) => {
    const made = new Namespace();
    for (const [name, value] of [...entriesOf(args[0]), ...kwargs]) made.entries.set(str(name), value);
    return made;
  },
  cycler: (items) => {
    const made = new Namespace();
    let at = 0;
    const show = () => made.entries.set("current", items[at]);
    const next = () => {
      const found = items[at];
      at = (at + 1) % items.length;
      show();
      return found;
    };
    made.entries.set("next", next);
    made.entries.set("reset", () => {
      at = 0;
      show();
      return null;
    });
    show();
    return made;
  },
  joiner: ([separator = ", "]) => {
    let isFirst = true;
    return () => {
      const found = isFirst ? "" : separator;
      isFirst = false;
      return found;
    };
  },
  raise_exception: ([message = ""]) => {
    throw new Error(str(message));
  },
  strftime_now: ([format = ""]) => {
    // No name is written longer.
    spend(itemSteps * str(format).length);
    return strftime(new Date(), str(format));
  },
};

function entriesOf(given: Value | undefined): [Value, Value][] {
  if (given === undefined) return [];
  if (given instanceof Map) {
    spend(itemSteps * given.size);
    return [...(given as Dict)];
  }
  return each(given).map((pair) => {
    const [key, value] = itemsOf(pair);
    return [key, value];
  });
}
