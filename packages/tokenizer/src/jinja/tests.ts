// What templates ask of values: `x is defined`.

import { spend } from "./budget.ts";
import { comparisons } from "./operators.ts";
import { Float, fail, isTrue, numberOf, plain, typeName, Undefined, type Value } from "./values.ts";

type Test = (value: Value, ...args: Value[]) => boolean;

function whole(value: Value): bigint {
  const found = numberOf(value);
  return found === undefined ? fail(`expected a number, found ${typeName(value)}`) : BigInt(Math.trunc(Number(found)));
}

function read(text: string): true {
  spend(text.length);
  return true;
}

const isText = (value: Value): value is string => typeof value === "string";
const isNumber = (value: Value) => numberOf(value) !== undefined;
const isSequence = (value: Value) => isText(value) || Array.isArray(value) || value instanceof Map;
const isUpper = (value: Value) => isText(value) && read(value) && value !== value.toLowerCase() && value === value.toUpperCase();
const isLower = (value: Value) => isText(value) && read(value) && value !== value.toUpperCase() && value === value.toLowerCase();

const { "==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge, in: isIn } = comparisons;

const tests: Readonly<Record<string, Test>> = {
  ...{ eq, equalto: eq, "==": eq, ne, "!=": ne },
  ...{ lt, lessthan: lt, "<": lt, le, "<=": le, gt, greaterthan: gt, ">": gt, ge, ">=": ge },
  in: isIn,
  defined: (value) => !(value instanceof Undefined),
  undefined: (value) => value instanceof Undefined,
  none: (value) => value === null,
  boolean: (value) => typeof value === "boolean",
  true: (value) => value === true,
  false: (value) => value === false,
  string: isText,
  number: isNumber,
  integer: (value) => typeof value === "number" || typeof value === "bigint",
  float: (value) => value instanceof Float,
  mapping: (value) => value instanceof Map,
  iterable: (value) => isSequence(value) || value instanceof Undefined,
  sequence: (value) => isSequence(value) || value instanceof Undefined,
  callable: (value) => typeof value === "function",
  sameas: (a, b) => (isText(a) ? read(a) && a === b : a === b) || (a instanceof Undefined && b instanceof Undefined),
  odd: (value) => whole(value) % 2n !== 0n,
  even: (value) => whole(value) % 2n === 0n,
  divisibleby: (value, by) => whole(value) % whole(by) === 0n,
  lower: isLower,
  upper: isUpper,
  escaped: () => false,
};

/** @throws Error for a test that does not exist */
export function test(name: string, value: Value, args: readonly Value[]): boolean {
  if (!Object.hasOwn(tests, name)) return fail(`No test named '${name}'.`);
  return tests[name](plain(value), ...args.map(plain));
}

/** A test by its name, or whether a value is true at all. */
export function testOf([name, ...args]: readonly Value[]): (value: Value) => boolean {
  return name === undefined ? isTrue : (value) => test(String(name), value, args);
}
