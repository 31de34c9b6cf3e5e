// Python's operators.

import { itemSteps, mostDigits, spend } from "./budget.ts";
import { formatPercent } from "./text-format.ts";
import {
  compare,
  contains,
  equal,
  Float,
  fail,
  integer,
  isTrue,
  numberOf,
  plain,
  str,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

type Operator = (left: Value, right: Value) => Value;

export const comparisons: Readonly<Record<string, (left: Value, right: Value) => boolean>> = {
  "==": equal,
  "!=": (a, b) => !equal(a, b),
  "<": (a, b) => compare(a, b) < 0,
  ">": (a, b) => compare(a, b) > 0,
  "<=": (a, b) => compare(a, b) <= 0,
  ">=": (a, b) => compare(a, b) >= 0,
  in: (a, b) => contains(b, a),
  "not in": (a, b) => !contains(b, a),
};

const arithmetic: Readonly<Record<string, Operator>> = {
  "+": (a, b) => joined(a, b) ?? numbers("+", a, b),
  "-": (a, b) => numbers("-", a, b),
  "*": (a, b) => repeated(a, b) ?? repeated(b, a) ?? numbers("*", a, b),
  "/": (a, b) => numbers("/", a, b),
  "//": (a, b) => numbers("//", a, b),
  "%": (a, b) => (typeof a === "string" ? formatPercent(a, b) : numbers("%", a, b)),
  "**": (a, b) => numbers("**", a, b),
  "~": (a, b) => concatenated(str(a), str(b)),
};

/** `a < b < c` is two comparisons that share an operand. */
export function isComparison(operator: string): boolean {
  return Object.hasOwn(comparisons, operator);
}

/** @throws Error where Python does */
export function binary(operator: string, left: Value, right: Value): Value {
  const [a, b] = [plain(left), plain(right)];
  if (isComparison(operator)) return comparisons[operator](a, b);
  const takesAll = operator === "~" || (operator === "%" && typeof a === "string");
  for (const side of takesAll ? [] : [a, b]) if (side instanceof Undefined) return fail(`${side.what} is undefined`);
  return arithmetic[operator](a, b);
}

/** @throws Error where Python does */
export function unary(operator: string, given: Value): Value {
  if (operator === "not") return !isTrue(given);
  const value = plain(given);
  const found = numberOf(value);
  if (found === undefined) return fail(`bad operand type for unary ${operator}: '${typeName(value)}'`);
  if (value instanceof Float) return operator === "-" ? new Float(-value.value) : value;
  return integer(operator === "-" ? -found : found);
}

function joined(a: Value, b: Value): Value | undefined {
  if (typeof a === "string" && typeof b === "string") return concatenated(a, b);
  if (!Array.isArray(a) || !Array.isArray(b) || a instanceof Tuple !== b instanceof Tuple) return undefined;
  spend(itemSteps * (a.length + b.length));
  const all = a instanceof Tuple ? new Tuple() : [];
  for (const one of [a, b]) for (const item of one) all.push(item);
  return all;
}

/** Engines join texts without copying them: what is put to a long one costs no more than what is put to it. */
function concatenated(a: string, b: string): string {
  spend(itemSteps + Math.min(a.length, b.length));
  return a + b;
}

function repeated(a: Value, times: Value): Value | undefined {
  if (!(typeof a === "string" || Array.isArray(a)) || !(typeof times === "number" || typeof times === "boolean")) return undefined;
  const count = Math.max(0, Number(times));
  spend(a.length * count * (typeof a === "string" ? 1 : itemSteps));
  if (a.length === 0) return a;
  if (typeof a === "string") return a.repeat(count);
  const all = a instanceof Tuple ? new Tuple() : [];
  for (let i = 0; i < count; i++) for (const item of a) all.push(item);
  return all;
}

function numbers(operator: string, left: Value, right: Value): Value {
  const [a, b] = [numberOf(left), numberOf(right)];
  if (a === undefined || b === undefined) return unsupported(operator, left, right);
  if ((operator === "/" || operator === "//" || operator === "%") && Number(b) === 0) return fail("division by zero");
  const isFloat = left instanceof Float || right instanceof Float || operator === "/" || (operator === "**" && b < 0);
  return isFloat ? new Float(ofFloats(operator, Number(a), Number(b))) : integer(expectShort(ofIntegers(operator, BigInt(a), BigInt(b))));
}

/** Bits of an integer of `mostDigits`. */
const mostBits = Math.ceil(mostDigits * Math.log2(10));

function expectShort(value: bigint): bigint {
  const isShort = BigInt.asIntN(mostBits, value) === value;
  return isShort ? value : fail(`expected integers of at most ${mostDigits} digits, found a longer one`);
}

function unsupported(operator: string, left: Value, right: Value): never {
  if (operator === "+" && typeof left === "string") return fail(`can only concatenate str (not "${typeName(right)}") to str`);
  return fail(`unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
}

/** Python's division and remainder round down. */
function ofFloats(operator: string, a: number, b: number): number {
  if (operator === "+") return a + b;
  if (operator === "-") return a - b;
  if (operator === "*") return a * b;
  if (operator === "/") return a / b;
  if (operator === "**") return a ** b;
  return operator === "//" ? Math.floor(a / b) : a - Math.floor(a / b) * b;
}

function ofIntegers(operator: string, a: bigint, b: bigint): bigint {
  if (operator === "+") return a + b;
  if (operator === "-") return a - b;
  if (operator === "*") return a * b;
  if (operator === "**") return power(a, b);
  const remainder = a % b;
  const isBelow = remainder !== 0n && remainder < 0n !== b < 0n;
  return operator === "//" ? a / b - (isBelow ? 1n : 0n) : remainder + (isBelow ? b : 0n);
}

/** By squares, so that what gets too long is found before it takes long. */
function power(a: bigint, b: bigint): bigint {
  let [found, square] = [1n, a];
  for (let rest = b; rest > 0n; rest >>= 1n) {
    if (rest & 1n) found = expectShort(found * square);
    if (rest > 1n) square = expectShort(square * square);
  }
  return found;
}
