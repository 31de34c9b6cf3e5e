// Numbers and strings in the engine's words, narrowed where it reads them more widely than JSON Schema.

import { knownFormats } from "./formats.ts";
import { type Bound, commonMultiple, decimal, firstInteger, lastInteger, type NumberShape, numberOf } from "./number-shape.ts";
import { allBut, escapeJs, escapeRust, isWritable, wholePattern } from "./rust-pattern.ts";
import { Unenforceable } from "./shapes.ts";
import type { Pattern, StringShape } from "./string-shape.ts";

export type Emitted = boolean | { readonly [word: string]: unknown };

/** Digits before the point, which a double holds exactly. */
const maxDigits = 15;
const largest = 10 ** maxDigits - 1;
/** Digits after the point; the engine's own arithmetic of multiples is wrong beyond. */
const maxDecimals = 9;
/** Of a multiple's digits: its remainders are kept in 32 bits. */
const maxMultiple = 400_000_000n;
const maxMultipleScale = 8;
/** Characters of a string that is counted; the engine's automaton has a state for each. */
const maxCounted = 100_000;
const maxPatternedLength = 2_000;
/** Names that keys may not have; each makes the automaton of a look ahead larger. */
const maxExcluded = 12;

/** @returns false where no number of 15 digits is in it */
export function emitNumber(shape: NumberShape, path: string): Emitted {
  if (shape.values) return shape.values.length === 1 ? { const: shape.values[0] } : { enum: shape.values };
  const step = shape.multiples.length > 0 ? commonMultiple(shape.multiples) : undefined;
  if (step && (step.coefficient > maxMultiple || step.scale > maxMultipleScale))
    throw new Unenforceable(`${path}.multipleOf`, `multiples of a number of at most ${maxMultipleScale} digits`);
  if (shape.integer) {
    const minimum = Math.max(shape.min ? firstInteger(shape.min) : -largest, -largest);
    const maximum = Math.min(shape.max ? lastInteger(shape.max) : largest, largest);
    if (minimum > maximum) return false;
    return { type: "integer", minimum, maximum, ...(step && { multipleOf: numberOf(step) }) };
  }
  const decimals = step?.scale ?? decimalsFor(shape);
  const minimum = Math.max(shape.min ? inclusive(shape.min, decimals, 1) : -largest, -largest);
  const maximum = Math.min(shape.max ? inclusive(shape.max, decimals, -1) : largest, largest);
  if (minimum > maximum) return false;
  return { type: "number", minimum, maximum, multipleOf: numberOf(step ?? { coefficient: 1n, scale: decimals }) };
}

/** As many that a number next to an exclusive bound is another double than the bound. */
function decimalsFor({ min, max }: NumberShape): number {
  const digits = [min, max].map((bound) => (bound?.exclusive ? Math.trunc(Math.abs(bound.value)).toString().length : 0));
  return Math.min(maxDecimals, Math.max(0, maxDigits - Math.max(...digits)));
}

/** The engine has faults in exclusive bounds; the next number of so many decimals is an inclusive one. */
function inclusive({ value, exclusive }: Bound, decimals: number, side: 1 | -1): number {
  if (Math.abs(value) > largest) return value;
  const { coefficient, scale } = decimal(value);
  if (!exclusive || scale > decimals) return value;
  return numberOf({ coefficient: coefficient * 10n ** BigInt(decimals - scale) + BigInt(side), scale: decimals });
}

export function emitString(shape: StringShape, path: string): Emitted {
  const { min, max, patterns, formats } = shape;
  const not = shape.not.filter(isWritable);
  const values = shape.values?.filter(isWritable);
  if (values?.length === 0) return false;
  const expressions = [
    ...patterns.map(patternRegex),
    ...formats.map(({ format }) => knownFormats.get(format) ?? ""),
    ...(not.length > 0 ? [allBut(not, path)] : []),
  ];
  const counted = max === Infinity ? min : max;
  if (counted > (expressions.length > 0 ? maxPatternedLength : maxCounted)) {
    if (max === Infinity) throw new Unenforceable(`${path}.minLength`, "a shorter length");
    return emitString({ ...shape, max: expressions.length > 0 ? maxPatternedLength : maxCounted }, path);
  }
  const parts = expressions.map((regex) => ({ type: "string", pattern: `^(?:${regex})$` }));
  const lengths = { ...(min > 0 && { minLength: min }), ...(max < Infinity && { maxLength: max }) };
  if (values) return { type: "string", enum: values, ...(parts.length > 0 && { allOf: parts }) };
  if (parts.length === 0) return { type: "string", ...lengths };
  return { ...parts[0], ...lengths, ...(parts.length > 1 && { allOf: parts.slice(1) }) };
}

/** Of the whole text, without ^ and $. */
function patternRegex({ source, absent, path }: Pattern): string {
  const regex = absent ? wholePattern(`^(?![^]*?(?:${source}))[^]*$`, path, true) : wholePattern(source, path);
  return regex.slice(1, -1);
}

/** A regex of a whole text for what a string shape says of keys. */
export function keyRegex({ values, not, min, max, patterns, formats }: StringShape, path: string): string {
  if (values && patterns.length + formats.length === 0)
    return `^(?:${values.map((value) => [...value].map(escapeRust).join("")).join("|")})$`;
  if (formats.length === 1 && patterns.length + not.length + min === 0 && max === Infinity)
    return `^(?:${knownFormats.get(formats[0].format)})$`;
  if (values || formats.length > 0 || not.length > maxExcluded)
    throw new Unenforceable(path, "names of a pattern, a length, a list or a format");
  const looks = [
    ...patterns.map(({ source, absent }) => `(?${absent ? "!" : "="}[^]*?(?:${source}))`),
    ...(not.length > 0 ? [`(?!(?:${not.map(escapeJs).join("|")})$)`] : []),
  ];
  if (looks.length === 1 && patterns.length === 1 && !patterns[0].absent && min === 0 && max === Infinity)
    return wholePattern(patterns[0].source, path);
  return wholePattern(`^${looks.join("")}[^]{${min},${max === Infinity ? "" : max}}$`, path, true);
}
