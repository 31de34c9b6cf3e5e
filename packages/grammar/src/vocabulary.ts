// Grammars over the tokens of one model: compiled once each, and kept while there is room.

import { JambaError, unlessAborted } from "@jamba/core";
import { Grammar } from "./grammar.ts";
import { Failure, Instance, maxTries, most } from "./instance.ts";
import { type GrammarModule, loadModule } from "./module.ts";
import type { Source } from "./source.ts";

export interface VocabularyOptions {
  /** Tokens; ids are below it. */
  readonly size: number;
  /** What a token stands for; undefined for one that no answer may hold. */
  textOf(id: number): string | Uint8Array | undefined;
  /** Whether a token is no text: a grammar names it as `<[id]>`, and no rule for texts matches it. */
  isControl(id: number): boolean;
  /** Tokens of which each ends an answer. */
  readonly stopIds: readonly number[];
  /** Tokens of a text, without any before or after it. */
  encode(text: string): readonly number[];
  /** Of compiled grammars, beside the vocabulary itself; those used longest ago go first. 64 MiB if not given. */
  readonly cacheBytes?: number;
}

/** What tests set otherwise. */
export interface VocabularyPlace {
  readonly module: Promise<GrammarModule>;
  /** Work of the lexer for one mask: more than `quick` is done on a thread, more than `slow` ends the answer. */
  readonly fuel: { readonly quick: number; readonly slow: number };
}

/** Masks of grammars with more characters are made on a thread from the first. */
const longText = 64 * 1024;
const usualFuel = { quick: 200_000, slow: 1_000_000 };

/** A vocabulary that is read, in a memory of its own. */
interface Opened {
  readonly instance: Instance;
  readonly at: number;
  /** What the vocabulary takes, without any grammar. */
  readonly bytes: number;
}

/** Tokens whose texts are put together at a time; others have their turn between. */
const sliceTokens = 1024;

const utf8 = new TextEncoder();

/** Far beyond what the largest takes. */
const mostForVocabulary = { bytes: 256 * 2 ** 20, work: 2 ** 32 - 1, ms: 60_000 };

export class Vocabulary {
  readonly #options: VocabularyOptions;
  readonly #place: VocabularyPlace;
  #opened: Promise<Opened>;
  readonly #grammars = new Map<string, Promise<Grammar>>();
  /** The one that is opened, or being opened. */
  #instance: Instance | undefined;
  /** In whose place there is another. */
  #renewed: Opened | undefined;
  #disposed = false;

  /** Begins to read the tokens; whoever compiles waits for that. */
  constructor(options: VocabularyOptions, place: Partial<VocabularyPlace> = {}) {
    this.#options = options;
    this.#place = { module: loadModule(), fuel: usualFuel, ...place };
    this.#opened = this.#read();
    this.#opened.catch(() => undefined); // `compile` throws it
  }

  get stopIds(): readonly number[] {
    return this.#options.stopIds;
  }

  get size(): number {
    return this.#options.size;
  }

  /** Of a mask: one bit for each token. */
  get words(): number {
    return Math.ceil(this.#options.size / 32);
  }

  /** All that the module takes. */
  async memoryBytes(): Promise<number> {
    return (await this.#opened).instance.memoryBytes;
  }

  /**
   * @param asked a grammar in llguidance's Lark, or one with parts that are written as it is compiled
   * @throws JambaError OPTION where it is wrong or too much, with the place and the reason; the signal's reason when aborted: the work goes
   * on, for who asks again
   */
  async compile(asked: string | Source, { signal, isSlow = false }: { signal?: AbortSignal; isSlow?: boolean } = {}): Promise<Grammar> {
    signal?.throwIfAborted();
    const source = typeof asked === "string" ? { text: asked, parts: [] } : asked;
    const opened = await unlessAborted(() => this.#current(), signal);
    const json = jsonOf(source);
    const isLong = isSlow || json.length > longText;
    const key = keyOf(json, isLong);
    let grammar = this.#grammars.get(key);
    if (!grammar) {
      grammar = this.#compile(opened, json, isLong);
      grammar.then(
        () => this.#makeRoom(opened),
        () => {
          if (this.#grammars.get(key) === grammar) this.#grammars.delete(key);
          return this.#makeRoom(opened);
        },
      );
    }
    // The one used last is at the end.
    this.#grammars.delete(key);
    this.#grammars.set(key, grammar);
    const found = grammar;
    return unlessAborted(() => found, signal);
  }

  /** The next that asks for it has another. */
  forget(json: string, isSlow: boolean): void {
    this.#grammars.delete(keyOf(json, isSlow));
  }

  async #compile(opened: Opened, json: string, isSlow: boolean): Promise<Grammar> {
    const begun = performance.now();
    const { quick, slow } = this.#place.fuel;
    for (let tries = 0; ; tries++) {
      const { instance, at: tokens } = tries === 0 ? opened : await this.#current();
      try {
        const call = { ...most, source: json };
        const { value, said, refused, written } = await instance.run("compile", [tokens, isSlow ? slow : quick], call);
        if (refused !== undefined) throw new JambaError("OPTION", refused);
        if (value === 0) throw new Failure(said);
        const { reasons, length, ms: prepareMs } = written!;
        const compileMs = performance.now() - begun - prepareMs;
        return new Grammar(this, instance, { tokens, at: value >>> 0, json, isSlow, reasons, length, prepareMs, compileMs });
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        if (error.trapped !== "by others" || tries === maxTries) throw refusal(error.message);
      }
    }
  }

  /** The one there is, or another where that broke or lost too much to calls that broke off. */
  async #current(): Promise<Opened> {
    this.#expectOpen();
    const opened = await this.#opened;
    if (!opened.instance.isWorn || this.#renewed === opened) return this.#opened;
    this.#renewed = opened;
    this.#grammars.clear();
    opened.instance.retire();
    this.#opened = this.#read();
    return this.#opened;
  }

  async #makeRoom({ instance, bytes }: Opened): Promise<void> {
    const { cacheBytes = 64 * 2 ** 20 } = this.#options;
    const hasRoom = () => instance.isBroken || instance.usedBytes - bytes <= cacheBytes;
    // The last one is about to be followed.
    for (const [key, grammar] of [...this.#grammars].slice(0, -1)) {
      if (hasRoom()) return;
      this.#grammars.delete(key);
      (await grammar.catch(() => undefined))?.free();
    }
    // What is left is lost, or held by answers under way.
    if (!hasRoom() && instance.hasLeaks) instance.isWorn = true;
  }

  async #read(): Promise<Opened> {
    const { size, encode, stopIds } = this.#options;
    const instance = new Instance(await this.#place.module, encode);
    this.#instance = instance;
    const parts: Uint8Array[] = [];
    const lengths = new Uint32Array(size);
    for (let from = 0; from < size; from += sliceTokens) {
      for (let id = from; id < Math.min(size, from + sliceTokens); id++) {
        const part = this.#bytesOf(id);
        lengths[id] = part.length;
        parts.push(part);
      }
      await new Promise((resolve) => setTimeout(resolve));
      this.#expectOpen();
    }
    const lists = [concatenated(parts), new Uint8Array(lengths.buffer), new Uint8Array(Uint32Array.from(stopIds).buffer)];
    const [texts, counts, stops] = lists.map((bytes) => instance.put(bytes));
    const read = instance.run("vocabulary", [texts, counts, size, stops, stopIds.length], mostForVocabulary);
    const { value, said } = await read.catch((error) => {
      this.#expectOpen();
      throw error instanceof Failure ? refusal(error.message) : error;
    });
    for (const [i, at] of [texts, counts, stops].entries()) instance.give(at, lists[i].length);
    if (value === 0) throw refusal(said);
    return { instance, at: value >>> 0, bytes: instance.usedBytes };
  }

  #bytesOf(id: number): Uint8Array {
    const text = this.#options.textOf(id);
    const bytes = text === undefined ? new Uint8Array() : typeof text === "string" ? utf8.encode(text) : text;
    // No text has this byte.
    return this.#options.isControl(id) ? concatenated([Uint8Array.of(0xff), bytes]) : bytes;
  }

  #expectOpen(): void {
    if (this.#disposed) throw new JambaError("DISPOSED", "compile: expected a vocabulary that is open, found one that was disposed");
  }

  /** Ends threads; matchers that are open go no further. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#grammars.clear();
    this.#instance?.dispose();
    await this.#opened.catch(() => undefined);
  }
}

function keyOf(json: string, isSlow: boolean): string {
  return `${isSlow ? "slow" : "quick"} ${json}`;
}

/** As it travels to a thread, and is known by. @throws JambaError OPTION for what is no JSON */
function jsonOf(source: Source): string {
  try {
    return JSON.stringify(source);
  } catch (cause) {
    throw new JambaError("OPTION", `format: expected a schema of JSON values, found one that can't be written as JSON: ${cause}`, {
      cause,
    });
  }
}

function refusal(reason: string): JambaError {
  return new JambaError(
    "OPTION",
    `format: expected a grammar that can be compiled, found one that llguidance refuses: ${reason.split("\n", 1)[0]}`,
  );
}

function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
