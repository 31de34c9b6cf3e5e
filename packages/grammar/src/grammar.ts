// A compiled grammar, which any number of answers may follow.

import type { Instance } from "./instance.ts";
import { Matcher } from "./matcher.ts";
import type { Vocabulary } from "./vocabulary.ts";

export class Grammar {
  readonly vocabulary: Vocabulary;
  readonly instance: Instance;
  /** Where its vocabulary, and where it is, in the instance's memory. */
  readonly tokens: number;
  readonly at: number;
  readonly compileMs: number;
  /** Masks may take so long that threads make them. */
  readonly isSlow: boolean;
  /**
   * A call broke off within it. Its answers share a lock that may never be given back, so none of them may be called, nor the grammar be
   * followed again.
   */
  #isSpoiled = false;
  readonly #lark: string;

  constructor(
    vocabulary: Vocabulary,
    instance: Instance,
    { tokens, at, lark, isSlow, compileMs }: Pick<Grammar, "tokens" | "at" | "isSlow" | "compileMs"> & { readonly lark: string },
  ) {
    this.vocabulary = vocabulary;
    this.instance = instance;
    this.tokens = tokens;
    this.at = at;
    this.compileMs = compileMs;
    this.isSlow = isSlow;
    this.#lark = lark;
  }

  get isSpoiled(): boolean {
    return this.#isSpoiled;
  }

  spoil(): void {
    this.#isSpoiled = true;
    this.vocabulary.forget(this.#lark, this.isSlow);
  }

  /** An answer from its beginning: `dispose` follows. @throws JambaError OPTION where the grammar can't be followed */
  start(): Promise<Matcher> {
    return Matcher.open(this);
  }

  /** The same, compiled again where it is not there any more. @param isSlow with more work for each mask, which threads do */
  again(isSlow: boolean): Promise<Grammar> {
    return this.vocabulary.compile(this.#lark, { isSlow });
  }

  /** Answers under way keep what they need of it. */
  free(): void {
    if (!this.isSpoiled) this.instance.tryCall("free", this.at);
  }
}
