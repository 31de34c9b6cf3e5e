// In which orders the properties of an object may come; the engine keeps to one, so that each other is an alternative.

import type { PlainObject } from "./emit-object.ts";
import type { ObjectShape, Sets } from "./shapes.ts";

/** Properties of which all orders are alternatives. */
const maxFree = 3;
/** Of the optional ones, behind those that are required. */
const maxFreeTail = 2;
/** Properties of which one may be moved. */
const maxMoved = 7;
/** Properties that alternatives of one schema may write; each takes time to compile. */
const maxLikely = 300;
const maxUnlikely = 200;

export class Orders {
  #likely = maxLikely;
  #unlikely = maxUnlikely;

  /**
   * As `properties` lists them; where strict also the required ones first, as `required` lists them: generators sort the one and keep the author's order in the
   * other; those that only alternatives list, before or behind those that they share; few properties in more orders.
   */
  of(one: PlainObject, sets: Sets): PlainObject[] {
    // Where not strict nobody waits for another order, and keys that are certain need not be drawn.
    if (!sets.strict) return [one];
    const { shape } = one;
    const live = [...shape.properties.keys()].filter((name) => !sets.isNever(shape.properties.get(name)!));
    const required = [...shape.required].filter((name) => shape.properties.has(name));
    const optional = live.filter((name) => !shape.required.has(name));
    const found = new Map([[live.join("\0"), one]]);
    const add = (order: readonly string[]): number => {
      const key = order.join("\0");
      if (found.has(key)) return 0;
      found.set(key, { ...one, shape: { ...shape, properties: inOrder(shape, order) } });
      return order.length;
    };
    // Where all are required and the two lists agree, the keys are certain, and need not be drawn.
    if (live.join("\0") === required.join("\0")) return [one];
    const first = [...required, ...optional];
    const isAgreed = live.filter((name) => shape.required.has(name)).every((name, i) => name === required[i]);
    if (!isAgreed) add(first);
    for (const order of [first, ...chosenApart(shape.chosen, live)]) if (order.length <= this.#likely) this.#likely -= add(order);
    for (const order of near(live, required, optional)) if (order.length <= this.#unlikely) this.#unlikely -= add(order);
    return [...found.values()];
  }
}

function chosenApart(chosen: ObjectShape["chosen"], live: readonly string[]): string[][] {
  if (chosen.size === 0) return [];
  const has = new Set(live);
  const isLate = (name: string) => chosen.get(name) === "alone";
  return [
    [...[...chosen.keys()].filter((name) => has.has(name)), ...live.filter((name) => !chosen.has(name))],
    [...live.filter((name) => !isLate(name)), ...live.filter(isLate)],
  ];
}

function near(live: readonly string[], required: readonly string[], optional: readonly string[]): string[][] {
  if (live.length <= maxFree) return permutations(live);
  const tails = optional.length <= maxFreeTail ? permutations(optional).map((tail) => [...required, ...tail]) : [];
  return live.length <= maxMoved ? [...tails, ...moved([...required, ...optional])] : tails;
}

/** Two neighbours swapped, or one before all others. */
function moved(names: readonly string[]): string[][] {
  const swapped = names.slice(1).map((name, i) => [...names.slice(0, i), name, names[i], ...names.slice(i + 2)]);
  return [...swapped, ...names.map((name) => [name, ...names.filter((other) => other !== name)])];
}

function permutations(names: readonly string[]): string[][] {
  if (names.length === 0) return [[]];
  return names.flatMap((name) => permutations(names.filter((other) => other !== name)).map((rest) => [name, ...rest]));
}

function inOrder({ properties }: ObjectShape, order: readonly string[]): ObjectShape["properties"] {
  return new Map([...order, ...properties.keys()].map((name) => [name, properties.get(name)!]));
}
