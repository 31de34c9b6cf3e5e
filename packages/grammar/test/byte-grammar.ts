// Schemas compiled over a vocabulary of single bytes: what texts they admit, and texts drawn from them at random.

import { type Grammar, Vocabulary } from "../src/index.ts";
import { type PreparedSchema, prepareSchema } from "../src/schema/index.ts";

const stop = 256;
const utf8 = new TextEncoder();

export function openBytes(): Vocabulary {
  return new Vocabulary({
    size: 257,
    textOf: (id) => (id < 256 ? Uint8Array.of(id) : "<end>"),
    isControl: (id) => id === stop,
    stopIds: [stop],
    encode: (text) => [...utf8.encode(text)],
  });
}

/** json.dumps of Python, on one line. */
export function line(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(line).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  return `{${Object.entries(value)
    .map(([key, inner]) => `${JSON.stringify(key)}: ${line(inner)}`)
    .join(", ")}}`;
}

export class Admission {
  readonly #grammar: Grammar;
  readonly notEnforced: readonly string[];

  private constructor(grammar: Grammar, notEnforced: readonly string[]) {
    this.#grammar = grammar;
    this.notEnforced = notEnforced;
  }

  static async of(vocabulary: Vocabulary, schema: unknown, strict = true): Promise<Admission> {
    const prepared: PreparedSchema = prepareSchema(schema, { strict, name: "schema" });
    const grammar = await vocabulary.compile(`start: %json ${JSON.stringify(prepared.schema)}`);
    return new Admission(grammar, prepared.notEnforced);
  }

  async admits(value: unknown): Promise<boolean> {
    return this.admitsText(line(value));
  }

  async admitsText(text: string): Promise<boolean> {
    const matcher = await this.#grammar.start();
    try {
      for (const byte of [...utf8.encode(text), stop]) {
        const mask = await matcher.allowed();
        if (((mask[byte >> 5] >>> (byte & 31)) & 1) === 0) return false;
        await matcher.accept(byte);
      }
      return true;
    } finally {
      matcher.dispose();
    }
  }

  /** A text of at most some bytes that was drawn byte by byte; undefined where it did not end in time. */
  async draw(random: () => number, maxBytes: number): Promise<string | undefined> {
    const matcher = await this.#grammar.start();
    const bytes: number[] = [];
    try {
      while (bytes.length < maxBytes) {
        const byte = pick(await matcher.allowed(), random, bytes.length > 30);
        if (byte === stop) return new TextDecoder().decode(Uint8Array.from(bytes));
        await matcher.accept(byte);
        bytes.push(byte);
      }
      return undefined;
    } finally {
      matcher.dispose();
    }
  }
}

const closing = [stop, ...utf8.encode('"]},:')];
/** Rather than of other scripts, of which there are most. */
const common = utf8.encode('abcxyz019-.T: {["');

function pick(mask: Int32Array, random: () => number, isLong: boolean): number {
  const isAllowed = (id: number) => ((mask[id >> 5] >>> (id & 31)) & 1) === 1;
  const liked = [isLong || random() < 0.3 ? closing : [], random() < 0.6 ? common : []].map((ids) => [...ids].filter(isAllowed));
  const all = Array.from({ length: stop + 1 }, (_, id) => id).filter(isAllowed);
  const from = liked.find((ids) => ids.length > 0) ?? all;
  if (from.length === 0) throw new Error("expected some byte that may come next, found none");
  return from[Math.floor(random() * from.length)];
}
