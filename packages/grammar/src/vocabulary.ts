// Grammars over the tokens of one model: compiled once each, and kept while there is room.

import { JambaError } from "@jamba/core";
import { Grammar } from "./grammar.ts";
import { Failure, Instance } from "./instance.ts";
import { loadModule } from "./module.ts";

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

/** Work of the lexer for one mask. More is done on a thread. */
const fuel = { quick: 200_000, slow: 1_000_000 };

/** A vocabulary that is read, in a memory of its own. */
interface Opened {
  readonly instance: Instance;
  readonly at: number;
  /** What the vocabulary takes, without any grammar. */
  readonly bytes: number;
}

/** Tokens whose texts are put together at a time; others have their turn between. */
const sliceTokens = 4096;

/** What the module calls a grammar in Lark. */
const lark = 2;
const utf8 = new TextEncoder();

/** Where the module's memory never gives back what broken calls held, it is made anew beyond so much. */
const maxMemoryBytes = 512 * 2 ** 20;

export class Vocabulary {
  readonly #options: VocabularyOptions;
  #opened: Promise<Opened>;
  readonly #grammars = new Map<string, Promise<Grammar>>();
  /** In whose place there is another. */
  #renewed: Opened | undefined;
  #disposed = false;

  /** Begins to read the tokens; whoever compiles waits for that. */
  constructor(options: VocabularyOptions) {
    this.#options = options;
    this.#opened = this.#read();
    this.#opened.catch(() => undefined); // `compile` throws it
  }

  get stopIds(): readonly number[] {
    return this.#options.stopIds;
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
   * @param source a grammar in llguidance's Lark
   * @throws JambaError OPTION with the module's reason where it's refused; the signal's reason when aborted: the work goes on, for who
   * asks again
   */
  async compile(source: string, { signal, isSlow = false }: { signal?: AbortSignal; isSlow?: boolean } = {}): Promise<Grammar> {
    signal?.throwIfAborted();
    const opened = await this.#current();
    const key = `${isSlow ? "slow" : "quick"} ${source}`;
    let grammar = this.#grammars.get(key);
    if (!grammar) {
      grammar = this.#compile(opened, source, isSlow);
      grammar.then(
        () => this.#makeRoom(opened),
        () => this.#forget(key, grammar!),
      );
    }
    // The one used last is at the end.
    this.#grammars.delete(key);
    this.#grammars.set(key, grammar);
    return signal ? unlessAborted(grammar, signal) : grammar;
  }

  async #compile({ instance, at: tokens }: Opened, source: string, isSlow: boolean): Promise<Grammar> {
    const begun = performance.now();
    const text = utf8.encode(source);
    const place = instance.put(text);
    try {
      const { value, said } = await instance.run("compile", tokens, lark, place, text.length, isSlow ? fuel.slow : fuel.quick);
      if (value === 0) throw refusal(said);
      return new Grammar(this, instance, { tokens, at: value >>> 0, lark: source, compileMs: performance.now() - begun });
    } catch (error) {
      throw error instanceof Failure ? refusal(error.message) : error;
    } finally {
      instance.give(place, text.length);
    }
  }

  /** The one there is, or another where that broke or has grown beyond use. */
  async #current(): Promise<Opened> {
    if (this.#disposed) throw new JambaError("OPTION", "compile: expected a vocabulary that is open, found one that was disposed");
    const opened = await this.#opened;
    const isFull = opened.instance.memoryBytes > maxMemoryBytes && opened.instance.users === 0;
    if (!opened.instance.isBroken && !isFull) return opened;
    if (this.#renewed !== opened) {
      this.#renewed = opened;
      this.#grammars.clear();
      opened.instance.dispose();
      this.#opened = this.#read();
    }
    return this.#opened;
  }

  async #makeRoom({ instance, bytes }: Opened): Promise<void> {
    const { cacheBytes = 64 * 2 ** 20 } = this.#options;
    for (const [key, grammar] of this.#grammars) {
      if (instance.isBroken || instance.usedBytes - bytes <= cacheBytes) return;
      this.#grammars.delete(key);
      (await grammar.catch(() => undefined))?.free();
    }
  }

  #forget(key: string, grammar: Promise<Grammar>): void {
    if (this.#grammars.get(key) === grammar) this.#grammars.delete(key);
  }

  async #read(): Promise<Opened> {
    const { size, encode, stopIds } = this.#options;
    const instance = new Instance(await loadModule(), encode);
    const parts: Uint8Array[] = [];
    const lengths = new Uint32Array(size);
    for (let from = 0; from < size; from += sliceTokens) {
      for (let id = from; id < Math.min(size, from + sliceTokens); id++) {
        const part = this.#bytesOf(id);
        lengths[id] = part.length;
        parts.push(part);
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    const lists = [concatenated(parts), new Uint8Array(lengths.buffer), new Uint8Array(Uint32Array.from(stopIds).buffer)];
    const [texts, counts, stops] = lists.map((bytes) => instance.put(bytes));
    const { value, said } = await instance.run("vocabulary", texts, counts, size, stops, stopIds.length);
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

  /** Ends threads; matchers that are open go no further. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#grammars.clear();
    await this.#opened.then(
      ({ instance }) => instance.dispose(),
      () => undefined,
    );
  }
}

function refusal(reason: string): JambaError {
  return new JambaError("OPTION", `format: expected a grammar that can be compiled, found one that llguidance refuses: ${reason}`);
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

/** @throws the signal's reason, as soon as it aborts */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
