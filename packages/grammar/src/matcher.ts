// One answer of a grammar, token by token.

import { JambaError } from "@jamba/core";
import type { Grammar } from "./grammar.ts";
import { Failure, maxTries } from "./instance.ts";

/** Forced tokens that are asked for at a time. */
const maxForced = 256;

export class Matcher {
  #grammar: Grammar;
  #at: number;
  /** A bit for each token; also where tokens come and go. */
  #out: number;
  #ids: number[] = [];
  /** The token that ends the answer has come. The module hears nothing of it. */
  #ended = false;
  #next: Promise<Int32Array> | undefined;
  /** Calls follow each other, whoever waits for them. */
  #turn: Promise<unknown> = Promise.resolve();
  #disposed = false;

  private constructor(grammar: Grammar) {
    this.#grammar = grammar;
    this.#at = 0;
    this.#out = 0;
  }

  static async open(grammar: Grammar): Promise<Matcher> {
    const matcher = new Matcher(grammar);
    await matcher.#retrying(async () => matcher.#begin());
    return matcher;
  }

  #begin(): void {
    const { instance, at, isGone } = this.#grammar;
    if (isGone) throw new Failure("the grammar is not there any more", "by others");
    const own = instance.call("again", at);
    try {
      this.#out = instance.take(this.#outBytes);
    } catch (error) {
      instance.tryCall("free", own);
      throw error;
    }
    this.#at = own;
    instance.enter();
  }

  get #outBytes(): number {
    return 4 * Math.max(this.#grammar.vocabulary.words, maxForced);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Begins to find out what may come next, on this thread where that is short. */
  prepare(): void {
    if (this.#next || this.#ended) return;
    this.#next = this.#inTurn(() => this.#mask());
    this.#next.catch(() => undefined); // `allowed` throws it, if it is asked for at all
  }

  /**
   * Bit id & 31 of word id >> 5 says whether a token may come next; where only one text can come, its first token alone. Do not change it.
   * @throws JambaError OPTION where the grammar allows nothing or takes too much work
   */
  async allowed(): Promise<Int32Array> {
    if (this.#ended) throw new JambaError("OPTION", "allowed: expected an answer that goes on, found one that has ended");
    this.prepare();
    return this.#next!;
  }

  /** The tokens that must come next. Not all of them may be told at once. */
  async forced(): Promise<readonly number[]> {
    if (this.#ended) return [];
    return this.#inTurn(async () => {
      const count = await this.#call("forced", () => [this.#out, maxForced]);
      return Array.from(this.#grammar.instance.words(this.#out, count));
    });
  }

  /** What must come next, as bytes: its end may be a part of a character. */
  async forcedText(): Promise<Uint8Array> {
    if (this.#ended) return new Uint8Array();
    return this.#inTurn(async () => {
      const count = await this.#call("forced_text", () => [this.#out, this.#outBytes]);
      return this.#grammar.instance.bytes(this.#out, count).slice();
    });
  }

  /** Whether the answer may end here. */
  async mayEnd(): Promise<boolean> {
    if (this.#ended) return true;
    return this.#inTurn(async () => (await this.#call("is_stopped")) === 1 || (await this.#call("is_accepting")) === 1);
  }

  /** Moves on. @throws JambaError OPTION for a token that can't come next, with nothing changed */
  async accept(id: number): Promise<void> {
    if (!(await this.take(id)))
      throw new JambaError("OPTION", `accept: expected a token that the format allows, found ${id}; was allowed() left out?`);
  }

  /** Moves on where that token can come next. @returns whether it can; nothing has changed where it can't */
  take(id: number): Promise<boolean> {
    this.#next = undefined;
    return this.#inTurn(async () => {
      if (this.#ended || !(id >= 0 && id < this.#grammar.vocabulary.size)) return false;
      if (this.#grammar.vocabulary.stopIds.includes(id)) {
        const ends = (await this.#call("is_stopped")) === 1 || (await this.#call("is_accepting")) === 1;
        this.#ended = ends;
        return ends;
      }
      if ((await this.#call("is_stopped")) === 1 || (await this.#call("consume", () => this.#written([id]))) < 1) return false;
      this.#ids.push(id);
      return true;
    });
  }

  /** Takes back the last `count` tokens. @throws JambaError OPTION when there are fewer */
  async rollback(count: number): Promise<void> {
    const has = this.#ids.length + (this.#ended ? 1 : 0);
    if (!(Number.isInteger(count) && count >= 0 && count <= has))
      throw new JambaError("OPTION", `rollback: expected at most the ${has} tokens that were accepted, found ${count}`);
    if (count === 0) return;
    this.#next = undefined;
    await this.#inTurn(async () => {
      const inside = count - (this.#ended ? 1 : 0);
      this.#ended = false;
      this.#ids.length -= inside;
      if (inside > 0) await this.#call("rollback", () => [inside]);
    });
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    // A call that is under way on a thread still uses it.
    void this.#turn.then(() => this.#free());
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(run);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  async #mask(): Promise<Int32Array> {
    await this.#call("mask", () => [this.#out]);
    return this.#grammar.instance.words(this.#out, this.#grammar.vocabulary.words).slice();
  }

  async #call(name: Operation, argsOf: () => readonly number[] = () => []): Promise<number> {
    let isAgain = false;
    return this.#retrying(async () => {
      if (this.#at === 0) {
        await this.#beginAgain();
        isAgain = true;
      }
      // What was taken back is not accepted again.
      return isAgain && name === "rollback" ? 0 : this.#try(name, argsOf);
    });
  }

  /**
   * What takes too much work for this thread, or went down with another call, is tried again from what was accepted, on a thread if that
   * is why.
   * @throws JambaError OPTION with the module's reason where that fails too
   */
  async #retrying<T>(run: () => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries++) {
      const grammar = this.#grammar;
      try {
        return await run();
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        const byOthers = error.trapped === "by others" || grammar.isSpoiled;
        if (error.trapped === true) grammar.spoil();
        this.#free();
        if (tries === maxTries || (grammar.isSlow && !byOthers)) throw refusal(error);
        this.#grammar = await grammar.again(grammar.isSlow || !byOthers);
      }
    }
  }

  async #try(name: Operation, argsOf: () => readonly number[]): Promise<number> {
    const { instance, isSlow, isSpoiled, tokens } = this.#grammar;
    if (isSpoiled) throw new Failure("another answer of the same grammar broke off", "by others");
    const args = [...(name === "mask" ? [tokens] : []), this.#at, ...argsOf()];
    const { value, said } = isSlow ? await instance.run(name, args) : { value: instance.call(name, ...args), said: undefined };
    if (value < 0) throw new Failure(said ?? instance.said);
    return value;
  }

  async #beginAgain(): Promise<void> {
    this.#begin();
    for (let from = 0; from < this.#ids.length; from += maxForced) {
      const some = this.#ids.slice(from, from + maxForced);
      if ((await this.#try("consume", () => this.#written(some))) < some.length)
        throw refusal(new Failure("what was accepted fits no more"));
    }
  }

  /** Puts `ids` where the module finds them. */
  #written(ids: readonly number[]): readonly number[] {
    this.#grammar.instance.words(this.#out, ids.length).set(ids);
    return [this.#out, ids.length];
  }

  #free(): void {
    if (this.#at === 0) return;
    const { instance, isSpoiled } = this.#grammar;
    if (!isSpoiled) instance.tryCall("free", this.#at);
    instance.give(this.#out, this.#outBytes);
    instance.leave();
    this.#at = 0;
  }
}

type Operation = "mask" | "consume" | "rollback" | "is_stopped" | "is_accepting" | "forced" | "forced_text";

function refusal({ message, trapped }: Failure): JambaError {
  const found = trapped ? "one that breaks the matcher" : "one that it gives up";
  return new JambaError("OPTION", `format: expected a grammar that can be followed to its end, found ${found} here: ${message}`);
}
