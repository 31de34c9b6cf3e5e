// Numbers and strings in the engine's words, narrowed where it reads them more widely than JSON Schema.

import { rustRegex } from "../regex/rust-regex.ts";
import { knownFormats } from "./formats.ts";
import { type Bound, commonMultiple, decimal, firstInteger, lastInteger, type NumberShape, numberOf } from "./number-shape.ts";
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

export function emitString(shape: StringShape): Emitted {
  const { values, not, min, max, patterns, formats } = shape;
  const expressions = [
    ...patterns.map(patternRegex),
    ...formats.map(({ format }) => knownFormats.get(format) ?? ""),
    ...(not.length > 0 ? [allBut(not)] : []),
  ];
  const counted = max === Infinity ? min : max;
  if (counted > (expressions.length > 0 ? maxPatternedLength : maxCounted)) {
    if (max === Infinity) throw new Unenforceable(patterns[0]?.path ?? "minLength", "a shorter length");
    return emitString({ ...shape, max: expressions.length > 0 ? maxPatternedLength : maxCounted });
  }
  const parts = expressions.map((regex) => ({ type: "string", pattern: `^(?:${regex})$` }));
  const lengths = { ...(min > 0 && { minLength: min }), ...(max < Infinity && { maxLength: max }) };
  if (values) return { type: "string", enum: values, ...(parts.length > 0 && { allOf: parts }) };
  if (parts.length === 0) return { type: "string", ...lengths };
  return { ...parts[0], ...lengths, ...(parts.length > 1 && { allOf: parts.slice(1) }) };
}

/** Of the whole text. */
function patternRegex({ source, absent, path }: Pattern): string {
  try {
    const written = absent
      ? rustRegex(`^(?![^]*?(?:${source}))[^]*$`, { name: path, whole: true })
      : rustRegex(source, { name: path, whole: false });
    return written.slice(1, -1);
  } catch (error) {
    throw new Unenforceable(path, `a pattern that can be followed (${(error as Error).message})`);
  }
}

/** A regex of every text but some: along their common beginnings, or off them. */
export function allBut(texts: readonly string[]): string {
  return `(?s:${butAfter(texts.map((text) => [...text]))})`;
}

function butAfter(rests: readonly (readonly string[])[]): string {
  const heads = new Map<string, (readonly string[])[]>();
  for (const [head, ...rest] of rests) if (head !== undefined) heads.set(head, [...(heads.get(head) ?? []), rest]);
  const mayEnd = rests.every((rest) => rest.length > 0);
  if (heads.size === 0) return ".+";
  const off = `[^${[...heads.keys()].map(escapeRust).join("")}].*`;
  const along = [...heads].map(([head, after]) => `${escapeRust(head)}(?:${butAfter(after)})`);
  return [...(mayEnd ? [""] : []), off, ...along].join("|");
}

export function escapeRust(char: string): string {
  return /^[A-Za-z0-9]$/.test(char) ? char : `\\x{${char.codePointAt(0)!.toString(16)}}`;
}

/** A regex of a whole text for what a string shape says of keys; undefined where it takes more than one. */
export function keyRegex(shape: StringShape): string | undefined {
  const { values, not, min, max, patterns, formats } = shape;
  const regexes = [
    ...(values ? [values.map((value) => [...value].map(escapeRust).join("")).join("|")] : []),
    ...patterns.map(patternRegex),
    ...formats.map(({ format }) => knownFormats.get(format) ?? ""),
    ...(not.length > 0 ? [allBut(not)] : []),
    ...(min > 0 || max < Infinity ? [`(?s:.{${min},${max === Infinity ? "" : max}})`] : []),
  ];
  return regexes.length > 1 ? undefined : `^(?:${regexes[0] ?? "(?s:.*)"})$`;
}
