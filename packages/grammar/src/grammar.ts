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
  /** Milliseconds that it took to write it as Lark, and to compile that. */
  readonly prepareMs: number;
  readonly compileMs: number;
  /** Characters of Lark. */
  readonly length: number;
  /** What it leaves open of schemas that are not strict: paths of keywords, each with what would be enforced there. */
  readonly reasons: ReadonlyMap<string, string>;
  /** Masks may take so long that threads make them. */
  readonly isSlow: boolean;
  /**
   * A call broke off within it. Its answers share a lock that may never be given back, so none of them may be called, nor the grammar be
   * followed again.
   */
  #isSpoiled = false;
  #isFreed = false;
  readonly #json: string;

  constructor(
    vocabulary: Vocabulary,
    instance: Instance,
    {
      tokens,
      at,
      json,
      isSlow,
      reasons,
      length,
      prepareMs,
      compileMs,
    }: Pick<Grammar, "tokens" | "at" | "isSlow" | "reasons" | "length" | "prepareMs" | "compileMs"> & { readonly json: string },
  ) {
    this.vocabulary = vocabulary;
    this.instance = instance;
    this.tokens = tokens;
    this.at = at;
    this.compileMs = compileMs;
    this.reasons = reasons;
    this.length = length;
    this.prepareMs = prepareMs;
    this.isSlow = isSlow;
    this.#json = json;
  }

  get isSpoiled(): boolean {
    return this.#isSpoiled;
  }

  /** Whether it can't be followed any more: it is compiled again then. */
  get isGone(): boolean {
    return this.#isSpoiled || this.#isFreed;
  }

  spoil(): void {
    this.#isSpoiled = true;
    this.vocabulary.forget(this.#json, this.isSlow);
  }

  /** An answer from its beginning: `dispose` follows. @throws JambaError OPTION where the grammar can't be followed */
  start(): Promise<Matcher> {
    return Matcher.open(this);
  }

  /** The same, compiled again where it is not there any more. @param isSlow with more work for each mask, which threads do */
  again(isSlow: boolean): Promise<Grammar> {
    return this.vocabulary.compile(JSON.parse(this.#json), { isSlow });
  }

  /** Answers under way keep what they need of it. */
  free(): void {
    if (!this.isGone) this.instance.tryCall("free", this.at);
    this.#isFreed = true;
  }
}
