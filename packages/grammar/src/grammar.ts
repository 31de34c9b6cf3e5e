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
  readonly #lark: string;

  constructor(
    vocabulary: Vocabulary,
    instance: Instance,
    { tokens, at, lark, compileMs }: { readonly tokens: number; readonly at: number; readonly lark: string; readonly compileMs: number },
  ) {
    this.vocabulary = vocabulary;
    this.instance = instance;
    this.tokens = tokens;
    this.at = at;
    this.compileMs = compileMs;
    this.#lark = lark;
  }

  /** An answer from its beginning: `dispose` follows. */
  start(): Matcher {
    return new Matcher(this);
  }

  /** The same, with more work allowed for each mask, which threads do. */
  slowOne(): Promise<Grammar> {
    return this.vocabulary.compile(this.#lark, { isSlow: true });
  }

  /** Answers under way keep what they need of it. */
  free(): void {
    if (!this.instance.isBroken) this.instance.call("free", this.at);
  }
}
