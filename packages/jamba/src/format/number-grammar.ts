// Numbers between bounds, as xgrammar's EBNF: digit by digit.

export interface Bounds {
  readonly min?: number;
  readonly max?: number;
  /** The number is more, or less, than these. */
  readonly above?: number;
  readonly below?: number;
}

/** Integers of at most 15 digits are exact. */
const largest = 10n ** 15n - 1n;
/** Digits after the point of a number that has bounds; rounding can't carry it over one. */
const places = 6;
const scale = 10n ** BigInt(places);

/** @returns an EBNF expression, or undefined if no integer fits */
export function integerRange({ min, max, above, below }: Bounds): string | undefined {
  const low = highest([
    min === undefined ? undefined : whole(Math.ceil(min)),
    above === undefined ? undefined : whole(Math.floor(above)) + 1n,
  ]);
  const high = lowest([
    max === undefined ? undefined : whole(Math.floor(max)),
    below === undefined ? undefined : whole(Math.ceil(below)) - 1n,
  ]);
  return signed(low ?? -largest, high ?? largest, naturals);
}

/** @returns an EBNF expression of numbers without exponents, or undefined if none fits */
export function decimalRange({ min, max, above, below }: Bounds): string | undefined {
  const low = highest([scaled(min, 1n, false), scaled(above, 1n, true)]);
  const high = lowest([scaled(max, -1n, false), scaled(below, -1n, true)]);
  const limit = largest * scale;
  return signed(low ?? -limit, high ?? limit, decimals);
}

function whole(value: number): bigint {
  return BigInt(Math.max(-1e16, Math.min(1e16, value)));
}

/** In units of the last place, rounded inwards; by a step more if the bound itself is out. Large ones have no places. */
function scaled(bound: number | undefined, inwards: 1n | -1n, strict: boolean): bigint | undefined {
  if (bound === undefined) return undefined;
  const step = Math.abs(bound) < 1e9 ? 1n : scale;
  if (step === scale) {
    const integer = whole(inwards > 0n ? Math.ceil(bound) : Math.floor(bound)) * scale;
    return strict ? integer + inwards * scale : integer;
  }
  const nearest = Math.round(bound * Number(scale));
  const back = nearest / Number(scale);
  const isIn = strict ? (inwards > 0n ? back > bound : back < bound) : inwards > 0n ? back >= bound : back <= bound;
  return BigInt(nearest) + (isIn ? 0n : inwards);
}

function highest(values: readonly (bigint | undefined)[]): bigint | undefined {
  return values.reduce((a, b) => (a === undefined || (b !== undefined && b > a) ? b : a));
}

function lowest(values: readonly (bigint | undefined)[]): bigint | undefined {
  return values.reduce((a, b) => (a === undefined || (b !== undefined && b < a) ? b : a));
}

function signed(low: bigint, high: bigint, range: (low: bigint, high: bigint) => string): string | undefined {
  const choices: string[] = [];
  if (low < 0n && low <= high) choices.push(`"-" (${range(high < 0n ? -high : 1n, -low)})`);
  if (high >= 0n && low <= high) choices.push(range(low > 0n ? low : 0n, high));
  return choices.length === 0 ? undefined : `(${choices.join(" | ")})`;
}

/** Integers from `low` to `high`, both from 0 on. */
function naturals(low: bigint, high: bigint): string {
  const choices: string[] = [];
  for (let length = `${low}`.length; length <= `${high}`.length; length++) {
    const first = length === 1 ? 0n : 10n ** BigInt(length - 1);
    const end = 10n ** BigInt(length) - 1n;
    choices.push(between(`${low > first ? low : first}`, `${high < end ? high : end}`, false));
  }
  return choices.join(" | ");
}

/** Numbers from `low` to `high` in units of the last place, both from 0 on. */
function decimals(low: bigint, high: bigint): string {
  const [from, to] = [low / scale, high / scale];
  const fraction = (value: bigint) => `${value % scale}`.padStart(places, "0");
  const [none, all] = ["0".repeat(places), "9".repeat(places)];
  if (from === to) return `"${from}" ${point(fraction(low), fraction(high))}`;
  const choices = [`"${from}" ${point(fraction(low), all)}`, `"${to}" ${point(none, fraction(high))}`];
  if (to - from > 1n) choices.push(`(${naturals(from + 1n, to - 1n)}) ${point(none, all)}`);
  return choices.join(" | ");
}

/** The point and what follows; nothing where nothing means zeros that fit. */
function point(low: string, high: string): string {
  const zeros = /^0*$/.test(low);
  if (zeros && /^0*$/.test(high)) return `("." "0"{1,${places}})?`;
  if (zeros && /^9*$/.test(high)) return `("." [0-9]{1,${places}})?`;
  const digits = `"." ${between(low, high, true, true)}`;
  return zeros ? `(${digits})?` : digits;
}

/** Digit strings from `low` to `high`, of one length; a fraction may stop where the rest would be zeros. */
function between(low: string, high: string, isFraction: boolean, needsDigit = false): string {
  if (low === "") return '""';
  const rest = low.length - 1;
  const mayStop = isFraction && !needsDigit && /^0*$/.test(low);
  const any = (count: number) => (count === 0 ? '""' : `[0-9]{${isFraction ? 0 : count},${count}}`);
  if (/^0*$/.test(low) && /^9*$/.test(high)) return needsDigit ? `[0-9]{1,${low.length}}` : any(low.length);
  const choices: string[] = mayStop ? ['""'] : [];
  if (low[0] === high[0]) choices.push(`"${low[0]}" ${between(low.slice(1), high.slice(1), isFraction)}`);
  else {
    choices.push(`"${low[0]}" ${between(low.slice(1), "9".repeat(rest), isFraction)}`);
    if (Number(high[0]) - Number(low[0]) > 1) choices.push(`[${Number(low[0]) + 1}-${Number(high[0]) - 1}] ${any(rest)}`);
    choices.push(`"${high[0]}" ${between("0".repeat(rest), high.slice(1), isFraction)}`);
  }
  return choices.length === 1 ? choices[0] : `(${choices.join(" | ")})`;
}
