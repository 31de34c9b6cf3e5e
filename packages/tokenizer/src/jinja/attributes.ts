// How templates reach into values: `x.y`, `x["y"]`, `x[1:]`.

import { itemSteps, spend } from "./budget.ts";
import { methodOf } from "./methods.ts";
import { charsOf, Float, fail, Namespace, numberOf, plain, repr, type Tuple, typeName, Undefined, type Value, View } from "./values.ts";

/** `x.name`: what Python calls an attribute, a method before a key. @throws for what is not there itself */
export function attributeOf(given: Value, name: Value): Value {
  const value = plain(given);
  const method = typeof name === "string" ? methodOf(value, name) : undefined;
  return method ?? itemOf(value, name);
}

/** `x[key]`: an item before an attribute. @throws for what is not there itself */
export function subscriptOf(given: Value, key: Value): Value {
  const value = plain(given);
  const found = itemOf(value, key);
  if (!(found instanceof Undefined) || typeof key !== "string") return found;
  return methodOf(value, key) ?? found;
}

function itemOf(value: Value, key: Value): Value {
  if (value instanceof Undefined) return fail(`${value.what} is undefined`);
  const missing = () => new Undefined(`'${typeName(value)} object' has no attribute ${repr(key)}`);
  const entries: ReadonlyMap<Value, Value> | undefined =
    value instanceof Namespace ? value.entries : value instanceof Map ? value : undefined;
  if (typeof key === "string") spend(key.length);
  if (entries) return entries.has(key) ? entries.get(key)! : missing();
  const at = typeof key === "boolean" ? Number(key) : key;
  if (typeof at !== "number" || !(Array.isArray(value) || typeof value === "string")) return missing();
  const found = (typeof value === "string" ? charsOf(value) : value).at(at);
  return found === undefined ? missing() : found;
}

/** `x[start:stop:step]`. */
export function sliceOf(given: Value, bounds: readonly (Value | undefined)[]): Value {
  const value = plain(given);
  if (value instanceof Undefined) return fail(`${value.what} is undefined`);
  if (typeof value !== "string" && !Array.isArray(value)) return fail(`'${typeName(value)}' object is not subscriptable`);
  const items: readonly Value[] = typeof value === "string" ? charsOf(value) : value;
  const [start, stop, given_] = bounds.map((bound) => (bound === undefined || bound === null ? undefined : indexOf(bound)));
  const step = given_ ?? 1;
  if (step === 0) return fail("slice step cannot be zero");
  const [low, high] = step > 0 ? [0, items.length] : [-1, items.length - 1];
  const place = (index: number | undefined, other: number) =>
    index === undefined ? other : Math.min(high, Math.max(low, index < 0 ? index + items.length : index));
  const [from, to] = [place(start, step > 0 ? low : high), place(stop, step > 0 ? high : low)];
  const taken = value instanceof View || typeof value === "string" ? [] : (value.slice(0, 0) as Value[] | Tuple);
  spend(itemSteps * Math.max(0, Math.ceil((to - from) / step)));
  for (let i = from; step > 0 ? i < to : i > to; i += step) taken.push(items[i]);
  return typeof value === "string" ? taken.join("") : taken;
}

function indexOf(bound: Value): number {
  const found = bound instanceof Float ? undefined : numberOf(bound);
  return found === undefined ? fail("slice indices must be integers or None or have an __index__ method") : Number(found);
}
