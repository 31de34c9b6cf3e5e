// Python's two ways to fill values into a text: `'%02d' % n` and `'{:02d}'.format(n)`.

import { spend } from "./budget.ts";
import { charsOf, countChars, Float, fail, floatText, type Kwargs, numberOf, repr, str, Tuple, typeName, type Value } from "./values.ts";

interface Spec {
  readonly fill: string;
  readonly align: string;
  readonly sign: string;
  readonly alternate: boolean;
  readonly width: number;
  readonly comma: string;
  readonly precision: number | undefined;
  readonly type: string;
}

/** `text % given`. @throws Error where Python does */
export function formatPercent(text: string, given: Value): string {
  const args = given instanceof Tuple ? [...given] : [given];
  spend(text.length);
  let at = 0;
  let isNamed = false;
  const next = (): Value => {
    if (at >= args.length) return fail("not enough arguments for format string");
    return args[at++];
  };
  const count = (written: string): number => {
    if (written !== "*") return Number(written);
    const found = next();
    return typeof found === "number" ? found : fail("* wants int");
  };
  const filled = text.replace(
    /%(?:\(([^)]*)\))?([-+ #0]*)(\*|\d*)(?:\.(\*|\d*))?[hlL]?(.?)/gs,
    (_, name: string | undefined, flags: string, wide: string, precise: string | undefined, type: string) => {
      if (type === "%") return "%";
      if (!"diouxXeEfFgGcrsa".includes(type) || type === "") return fail(`unsupported format character '${type}'`);
      let width = count(wide);
      const precision = precise === undefined ? undefined : count(precise);
      if (name !== undefined) isNamed = true;
      const value = name === undefined ? next() : valueAt(given, name);
      let align = flags.includes("-") ? "<" : flags.includes("0") && !"crsa".includes(type) ? "=" : ">";
      if (width < 0) [width, align] = [-width, "<"];
      const sign = flags.includes("+") ? "+" : flags.includes(" ") ? " " : "-";
      const spec = { fill: align === "=" ? "0" : " ", align, sign, alternate: flags.includes("#"), width, comma: "", precision, type };
      if (type === "c") return padded(typeof value === "number" ? String.fromCodePoint(value) : str(value), spec);
      if ("rsa".includes(type)) return padded((type === "s" ? str(value) : repr(value)).slice(0, precision), spec);
      return number(value, { ...spec, type: type === "i" || type === "u" ? "d" : type }, true);
    },
  );
  const isMapping = given instanceof Map || Array.isArray(given);
  if (at < args.length && !isNamed && !(isMapping && !(given instanceof Tuple) && at === 0))
    return fail("not all arguments converted during string formatting");
  return filled;
}

function valueAt(given: Value, name: string): Value {
  if (!(given instanceof Map)) return fail("format requires a mapping");
  return given.get(name) ?? (given.has(name) ? null : fail(`'${name}'`));
}

/** `text.format(...)`. @throws Error where Python does */
export function formatBraces(text: string, args: readonly Value[], kwargs: Kwargs): string {
  let at = 0;
  spend(text.length);
  return text.replace(/\{\{|\}\}|\{([^{}:!]*)(?:!([rs]))?(?::((?:[^{}]|\{[^{}]*\})*))?\}|[{}]/g, (whole, path, conversion, written) => {
    if (whole === "{{" || whole === "}}") return whole[0];
    if (path === undefined) return fail("Single '}' encountered in format string");
    const [head, ...rest] = path.split(/[.[\]]+/).filter((part: string, i: number) => i === 0 || part !== "");
    const key = head === "" ? at++ : /^\d+$/.test(head) ? Number(head) : head;
    const nested = (written ?? "").replace(/\{\}/g, () => str(args[at++] ?? fail("Replacement index out of range")));
    let value: Value | undefined = typeof key === "number" ? args[key] : kwargs.get(key);
    for (const part of rest) value = Array.isArray(value) ? value[Number(part)] : value instanceof Map ? value.get(part) : undefined;
    if (value === undefined) return fail(`Replacement ${JSON.stringify(path)} has no value`);
    if (conversion === "r") return withSpec(repr(value), nested);
    return withSpec(conversion === "s" ? str(value) : value, nested);
  });
}

function withSpec(value: Value, written: string): string {
  const found = /^(?:(.)?([<>=^]))?([-+ ])?(#)?(0)?(\d*)([,_])?(?:\.(\d+))?([a-zA-Z%])?$/su.exec(written);
  if (!found) return fail(`Invalid format specifier '${written}'`);
  const [, fill, align, sign = "-", alternate, zero, width, comma = "", precise, type = ""] = found;
  const isNumber = numberOf(value) !== undefined && typeof value !== "boolean";
  const spec: Spec = {
    fill: fill ?? (zero ? "0" : " "),
    align: align ?? (zero && isNumber ? "=" : isNumber ? ">" : "<"),
    ...{ sign, alternate: alternate !== undefined, width: Number(width), comma, type },
    precision: precise === undefined ? undefined : Number(precise),
  };
  if (isNumber && type !== "s") {
    const plain = type === "" && spec.precision === undefined;
    return plain && value instanceof Float
      ? signed(floatText(value), spec)
      : number(value, { ...spec, type: type || (value instanceof Float ? "g" : "d") }, false);
  }
  if (type !== "" && type !== "s") return fail(`Unknown format code '${type}' for object of type '${typeName(value)}'`);
  const shown = str(value);
  return padded(spec.precision === undefined ? shown : charsOf(shown).slice(0, spec.precision).join(""), spec);
}

const radixes: Readonly<Record<string, readonly [number, string]>> = { x: [16, "0x"], X: [16, "0X"], o: [8, "0o"], b: [2, "0b"] };

/** @param cuts a float may stand where a whole number is wanted, which drops its fraction */
function number(value: Value, spec: Spec, cuts: boolean): string {
  const found = numberOf(value);
  const { type, alternate, precision = 6 } = spec;
  if (found === undefined) return fail(`%${type} format: a real number is required, not ${typeName(value)}`);
  const radix = radixes[type];
  if (radix || type === "d") {
    if (value instanceof Float && (!cuts || radix)) return fail(`format code '${type}' expects an integer, found a float`);
    const whole = typeof found === "number" ? BigInt(Math.trunc(found)) : found;
    const digits = (whole < 0n ? -whole : whole).toString(radix?.[0] ?? 10).padStart(expectField(spec.precision ?? 0), "0");
    const shown = grouped(type === "X" ? digits.toUpperCase() : digits, spec.comma);
    return signed(`${whole < 0n ? "-" : ""}${radix && alternate ? radix[1] : ""}${shown}`, spec);
  }
  const float = Number(found);
  if (type === "%") return signed(`${grouped(fixed(float * 100, precision), spec.comma)}%`, spec);
  const small = type.toLowerCase();
  const text = !Number.isFinite(float)
    ? floatText(new Float(float))
    : small === "f"
      ? grouped(fixed(float, precision), spec.comma)
      : small === "e"
        ? exponent(float.toExponential(precision))
        : general(float, precision || 1, alternate);
  return signed(type === small ? text : text.toUpperCase(), spec);
}

/** As toFixed, but that a half goes to the even neighbour, and large numbers have no exponent. */
export function fixed(value: number, precision: number): string {
  expectField(precision);
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const size = Math.abs(value);
  // toFixed with as many digits as it can is exact.
  const [whole, fraction = ""] = size < 1e21 ? size.toFixed(100).split(".") : [String(BigInt(size)), "0".repeat(100)];
  const [kept, cut] = [whole + fraction.slice(0, precision), fraction.slice(precision)];
  const isTie = /^50*$/.test(cut);
  const isUp = isTie ? Number(kept.at(-1)) % 2 === 1 : cut >= "5";
  const digits = String(BigInt(kept) + (isUp ? 1n : 0n)).padStart(precision + 1, "0");
  return sign + (precision === 0 ? digits : `${digits.slice(0, -precision)}.${digits.slice(-precision)}`);
}

function exponent(text: string): string {
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}

function general(value: number, precision: number, alternate: boolean): string {
  const power = value === 0 ? 0 : Number(value.toExponential(precision - 1).split("e")[1]);
  const isPlain = power >= -4 && power < precision;
  const text = isPlain ? fixed(value, Math.max(0, precision - 1 - power)) : exponent(value.toExponential(precision - 1));
  if (alternate || !text.includes(".")) return text;
  return text.replace(/\.?0+(?=e|$)/, "");
}

function grouped(digits: string, comma: string): string {
  if (comma === "") return digits;
  const [whole, ...fraction] = digits.split(".");
  const first = whole.length % 3 || 3;
  const groups = Array.from({ length: Math.ceil(whole.length / 3) }, (_, i) => whole.slice(i && first + 3 * i - 3, first + 3 * i));
  return [groups.join(comma), ...fraction].join(".");
}

function signed(text: string, spec: Spec): string {
  const sign = text.startsWith("-") ? "-" : spec.sign === "-" ? "" : spec.sign;
  const digits = text.startsWith("-") ? text.slice(1) : text;
  if (spec.align !== "=") return padded(sign + digits, spec);
  const prefix = /^0[xXob]/.exec(digits)?.[0] ?? "";
  const rest = digits.slice(prefix.length);
  return sign + prefix + rest.padStart(expectField(spec.width) - sign.length - prefix.length, spec.fill);
}

/** A wider field is no use to a prompt. */
const widest = 2 ** 20;

/** @throws Error for a width or a precision beyond `widest` */
function expectField(width: number): number {
  if (width > widest) return fail(`expected a width of at most ${widest}, found ${width}`);
  spend(Math.max(0, width));
  return width;
}

function padded(text: string, { fill, align, width }: Spec): string {
  const missing = Math.max(0, expectField(width) - countChars(text));
  if (align === "<") return text + fill.repeat(missing);
  if (align === "^") return fill.repeat(missing >> 1) + text + fill.repeat(missing - (missing >> 1));
  return fill.repeat(missing) + text;
}
