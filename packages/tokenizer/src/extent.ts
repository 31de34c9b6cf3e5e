// How much is given to a template, without following it to its end.

/** Values and characters; a value counts as much as takes about as long. */
const shortUnits = 2 ** 16;
const valueUnits = 32;
/** More is nothing that JSON brought: a circle, most likely. */
const mostValues = 2 ** 23;
/** Values that are looked at between two yields. */
const sliceValues = 8192;

/** Whether it is read within some milliseconds. */
export function isShort(value: unknown): boolean {
  let left = shortUnits;
  const found = walk(value, (one) => {
    left -= valueUnits + (typeof one === "string" ? one.length : 0);
    return left > 0;
  });
  for (let next = found.next(); ; next = found.next()) if (next.done) return next.value;
}

/** Whether a copy, which has no functions and no methods, says the same. Yields after each bit of work. */
export function isPlain(value: unknown): Generator<void, boolean> {
  let count = 0;
  return walk(value, (one) => {
    if (++count > mostValues) return false;
    return typeof one !== "function" && !(typeof one === "object" && one !== null && "toJSON" in one && !(one instanceof Date));
  });
}

/** @returns whether all values within `root` do, itself among them */
function* walk(root: unknown, does: (value: unknown) => boolean): Generator<void, boolean> {
  const rest: Iterator<unknown>[] = [[root].values()];
  for (let count = 1; rest.length > 0; count++) {
    const next = rest[rest.length - 1].next();
    if (next.done) rest.pop();
    else if (!does(next.value)) return false;
    else if (typeof next.value === "object" && next.value !== null) rest.push(valuesOf(next.value));
    if (count % sliceValues === 0) yield;
  }
  return true;
}

function valuesOf(value: object): Iterator<unknown> {
  return Array.isArray(value) || value instanceof Map ? value.values() : Object.values(value).values();
}
