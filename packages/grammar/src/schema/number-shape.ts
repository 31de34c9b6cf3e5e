// What a schema says of numbers, in decimal arithmetic: bounds and multiples are what is written, not the nearest double.

export interface Bound {
  readonly value: number;
  readonly exclusive: boolean;
}

export interface NumberShape {
  readonly type: "number";
  readonly integer: boolean;
  readonly min?: Bound;
  readonly max?: Bound;
  readonly multiples: readonly number[];
  /** The only ones. */
  readonly values?: readonly number[];
}

/** coefficient * 10^-scale */
export interface Decimal {
  readonly coefficient: bigint;
  readonly scale: number;
}

export function decimal(value: number): Decimal {
  const [digits, exponent = "0"] = String(value).split("e");
  const [whole, fraction = ""] = digits.split(".");
  const scale = fraction.length - Number(exponent);
  const coefficient = BigInt(whole + fraction);
  return scale >= 0 ? { coefficient, scale } : { coefficient: coefficient * 10n ** BigInt(-scale), scale: 0 };
}

export function numberOf({ coefficient, scale }: Decimal): number {
  return Number(`${coefficient}e-${scale}`);
}

function scaled({ coefficient, scale }: Decimal, to: number): bigint {
  return coefficient * 10n ** BigInt(to - scale);
}

export function isMultipleOf(value: number, step: number): boolean {
  const [a, b] = [decimal(value), decimal(step)];
  const scale = Math.max(a.scale, b.scale);
  return scaled(a, scale) % scaled(b, scale) === 0n;
}

/** The least common multiple. */
export function commonMultiple(steps: readonly number[]): Decimal {
  const all = steps.map(decimal);
  const scale = Math.max(...all.map((step) => step.scale));
  return { coefficient: all.map((step) => scaled(step, scale)).reduce((a, b) => (a * b) / divisor(a, b)), scale };
}

function divisor(a: bigint, b: bigint): bigint {
  return b === 0n ? a : divisor(b, a % b);
}

export function intersectNumbers(a: NumberShape, b: NumberShape): NumberShape {
  const both: NumberShape = {
    type: "number",
    integer: a.integer || b.integer,
    min: tighter(a.min, b.min, 1),
    max: tighter(a.max, b.max, -1),
    multiples: [...new Set([...a.multiples, ...b.multiples])],
  };
  const values = a.values && b.values ? a.values.filter((value) => b.values!.includes(value)) : (a.values ?? b.values);
  return values ? { type: "number", integer: false, multiples: [], values: values.filter((value) => holds(both, value)) } : both;
}

export function holds({ integer, min, max, multiples, values }: NumberShape, value: number): boolean {
  if (values && !values.includes(value)) return false;
  if (integer && !Number.isInteger(value)) return false;
  if (min && (value < min.value || (min.exclusive && value === min.value))) return false;
  if (max && (value > max.value || (max.exclusive && value === max.value))) return false;
  return multiples.every((step) => isMultipleOf(value, step));
}

export function isNoNumber({ integer, min, max, values }: NumberShape): boolean {
  if (values) return values.length === 0;
  if (!min || !max) return false;
  if (min.value > max.value || (min.value === max.value && (min.exclusive || max.exclusive))) return true;
  return integer && firstInteger(min) > lastInteger(max);
}

export function firstInteger({ value, exclusive }: Bound): number {
  return exclusive && Number.isInteger(value) ? value + 1 : Math.ceil(value);
}

export function lastInteger({ value, exclusive }: Bound): number {
  return exclusive && Number.isInteger(value) ? value - 1 : Math.floor(value);
}

/** `side` 1: lower bounds, of which the larger holds; -1: upper ones. */
function tighter(a: Bound | undefined, b: Bound | undefined, side: 1 | -1): Bound | undefined {
  if (!a || !b) return a ?? b;
  if (a.value === b.value) return a.exclusive ? a : b;
  return (a.value - b.value) * side > 0 ? a : b;
}
