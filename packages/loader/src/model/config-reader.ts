// Values of a JSON file by key, each checked as it is read.

import { LoadError } from "@jamba/core";
import { isObject, showJson } from "../source/untrusted.ts";

/** Far beyond any Jamba (72 layers, 2^18 positions), near enough that a damaged number can't exhaust memory. */
export const limits = { layers: 4096, width: 2 ** 24, tokens: 2 ** 32 };

export type ConfigReader = ReturnType<typeof configReader>;

/**
 * Reads the keys of one file; each method throws a LoadError that names file and key.
 * @throws LoadError for what is no JSON object
 */
export function configReader(json: unknown, file: string) {
  if (!isObject(json)) {
    const found = json === null ? "null" : Array.isArray(json) ? "an array" : typeof json;
    throw new LoadError(`${file}: expected a JSON object, found ${found}`);
  }
  const value = (key: string): unknown => (Object.hasOwn(json, key) ? json[key] : undefined);
  const has = (key: string) => value(key) !== undefined && value(key) !== null;
  const fail = (key: string, expected: string): never => {
    throw new LoadError(`${file}: ${key}: expected ${expected}, found ${showJson(value(key))}`);
  };
  const integer = (key: string, fallback: number, min: number, max: number): number => {
    const found = has(key) ? value(key) : fallback;
    if (!Number.isSafeInteger(found) || (found as number) < min || (found as number) > max) fail(key, `an integer in [${min}, ${max}]`);
    return found as number;
  };
  return {
    file,
    value,
    has,
    fail,
    integer,
    optionalInteger: (key: string, min: number, max: number) => (has(key) ? integer(key, 0, min, max) : undefined),
    within(key: string, min: number, max: number): number | undefined {
      const found = value(key);
      if (!has(key)) return undefined;
      if (!(typeof found === "number" && found >= min && found <= max)) fail(key, `a number in [${min}, ${max}]`);
      return found as number;
    },
    positive(key: string, fallback: number): number {
      const found = has(key) ? value(key) : fallback;
      if (typeof found !== "number" || !(found > 0 && found < 1)) fail(key, "a number between 0 and 1");
      return found as number;
    },
    boolean(key: string, fallback: boolean): boolean {
      const found = has(key) ? value(key) : fallback;
      if (typeof found !== "boolean") fail(key, "true or false");
      return found as boolean;
    },
    only(key: string, expected: unknown, hint = ""): void {
      if (has(key) && value(key) !== expected) fail(key, `${JSON.stringify(expected)}${hint && ` (${hint})`}`);
    },
    ids(key: string, fallback: readonly number[]): readonly number[] {
      if (value(key) === undefined) return fallback;
      const found = [value(key) ?? []].flat();
      if (!found.every((id) => Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < limits.width))
        fail(key, "a token id or a list of them");
      return found as number[];
    },
    /** One text or a list of them. */
    texts(key: string): readonly string[] {
      const found = [value(key) ?? []].flat();
      if (!found.every((text) => typeof text === "string")) fail(key, "a text or a list of them");
      return found as string[];
    },
    /** Which layers a period and an offset name: those whose index leaves `offset` when divided by `period`. */
    every(key: "attn_layer" | "expert_layer", period: number, offset: number): (layer: number) => boolean {
      const every = integer(`${key}_period`, period, 1, limits.layers);
      const start = integer(`${key}_offset`, offset, 0, limits.layers);
      if (start >= every) fail(`${key}_offset`, `less than ${key}_period = ${every}`);
      return (layer) => layer % every === start;
    },
  };
}
