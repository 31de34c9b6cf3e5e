// Arrays in the engine's words: listed items, then others, so many. What it lacks is spelled out as alternatives.

import type { Node } from "./nodes.ts";
import { type ArrayShape, isEmpty, type Sets, Unenforceable } from "./shapes.ts";

/** Positions in which `contains` may be met. Arrays that meet it later only are left out. */
const maxPositions = 8;
/** Of one array: the positions of each are tried with those of the others. */
const maxContains = 2;
/** Alternatives that `uniqueItems` may be spelled out in. */
const maxAlternatives = 400;

/** @returns arrays without `contains` and `uniqueItems`, of which some are to be met */
export function plainArrays(shape: ArrayShape, sets: Sets, valuesOf: (node: Node) => readonly Node[] | undefined): ArrayShape[] {
  const [first, ...others] = shape.contains;
  if (others.length > maxContains - 1)
    throw new Unenforceable(first.path, `at most ${maxContains} items of different kinds that are contained`);
  if (first) return placed({ ...shape, contains: others }, first, sets).flatMap((piece) => plainArrays(piece, sets, valuesOf));
  const { unique, ...plain } = shape;
  if (unique === undefined || shape.max <= 1) return [plain];
  return arrangements(plain, unique, sets, valuesOf);
}

function placed(shape: ArrayShape, { node, min, max, path }: ArrayShape["contains"][number], sets: Sets): ArrayShape[] {
  const { nodes } = sets;
  const not = max < Infinity ? nodes.not(node, path) : undefined;
  if (max === 0 && not) return [at(shape, (item) => nodes.all([item, not], path))];
  if (min > 1 || (max < Infinity && max > 1))
    throw new Unenforceable(path, "one item that is contained, or none (minContains and maxContains of at most 1)");
  const positions = Math.min(shape.max, maxPositions);
  const pieces: ArrayShape[] = min === 0 && not ? [at(shape, (item) => nodes.all([item, not], path))] : [];
  for (let i = 0; i < positions; i++) {
    // Where only one may be, all others are not; else those before need not be.
    const others = not ? at(shape, (item) => nodes.all([item, not], path)) : shape;
    const prefix = Array.from({ length: Math.max(i + 1, others.prefix.length) }, (_, j) => others.prefix[j] ?? others.rest);
    prefix[i] = nodes.all([shape.prefix[i] ?? shape.rest, node], path);
    const piece = { ...others, prefix, min: Math.max(shape.min, i + 1) };
    if (!isEmpty(piece, sets)) pieces.push(piece);
  }
  return pieces;
}

function at(shape: ArrayShape, change: (item: Node) => Node): ArrayShape {
  return { ...shape, prefix: shape.prefix.map(change), rest: change(shape.rest) };
}

/** All arrays without a value twice, where there are few. */
function arrangements(shape: ArrayShape, path: string, sets: Sets, valuesOf: (node: Node) => readonly Node[] | undefined): ArrayShape[] {
  const all = [...shape.prefix, ...(shape.max > shape.prefix.length ? [shape.rest] : [])].map(valuesOf);
  const wanted = "items of few values (an enum of up to 5), or maxItems of 1, beside uniqueItems";
  if (all.some((values) => values === undefined)) throw new Unenforceable(path, wanted);
  const found: ArrayShape[] = [];
  const walk = (items: readonly Node[]) => {
    if (items.length >= shape.min) found.push({ ...shape, prefix: items, rest: sets.nodes.never, min: items.length, max: items.length });
    if (found.length > maxAlternatives) throw new Unenforceable(path, wanted);
    if (items.length >= shape.max) return;
    for (const value of all[Math.min(items.length, all.length - 1)] ?? []) if (!items.includes(value)) walk([...items, value]);
  };
  walk([]);
  return found;
}
