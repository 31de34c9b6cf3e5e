// A format on its own: what it takes, and what may come next, for editors and tests.

import type { Grammar, Matcher } from "@jamba/grammar";
import { lengthThatFits } from "./length-that-fits.ts";
import type { PlainTexts } from "./plain-texts.ts";

/** More than so many characters that may come next are no choice that anybody would list. */
const maxChoices = 64;

export class CompiledFormat {
  readonly #grammar: Grammar;
  readonly #texts: PlainTexts;
  /** Keywords of a schema that is not strict which answers are not bound to, as paths such as `format.schema.not`. */
  readonly notEnforced: readonly string[];
  /** Of each of these paths, what would be enforced there. */
  readonly reasons: ReadonlyMap<string, string>;
  /** Milliseconds that it took to write it as a grammar, and to compile that. */
  readonly prepareMs: number;
  readonly compileMs: number;
  /** Characters of the grammar. */
  readonly grammarLength: number;

  constructor(grammar: Grammar, texts: PlainTexts) {
    this.#grammar = grammar;
    this.#texts = texts;
    this.notEnforced = [...grammar.reasons.keys()];
    this.reasons = grammar.reasons;
    this.prepareMs = grammar.prepareMs;
    this.compileMs = grammar.compileMs;
    this.grammarLength = grammar.length;
  }

  /** Whether an answer may be this text, from its first character to its last. */
  accepts(text: string): Promise<boolean> {
    return this.#after(text, async (matcher) => matcher !== undefined && (await matcher.mayEnd()));
  }

  /** Units of a text that an answer may begin with: all where only its end may be missing. */
  async lengthThatFits(text: string): Promise<number> {
    const matcher = await this.#grammar.start();
    try {
      return await lengthThatFits(matcher, text, this.#texts);
    } finally {
      matcher.dispose();
    }
  }

  /**
   * Texts that may follow `prefix`, each as far as it leaves no choice, in the order of their characters: `["dark ", "light grey\""]`.
   * Empty where nothing may follow, where the prefix does not fit, and where the choice is wide, as within a free string.
   */
  completions(prefix: string): Promise<readonly string[]> {
    return this.#after(prefix, async (matcher) => {
      if (!matcher) return [];
      const forced = await this.#forced(matcher);
      if (forced !== "") return [forced];
      const chars = this.#charsOf(await matcher.allowed());
      if (chars.length > maxChoices) return [];
      const found: string[] = [];
      for (const char of chars) {
        const count = await this.#take(matcher, char);
        if (count !== undefined) found.push(char + (await this.#forced(matcher)));
        await matcher.rollback(count ?? 0);
      }
      return found;
    });
  }

  async #after<T>(text: string, ask: (matcher: Matcher | undefined) => Promise<T>): Promise<T> {
    const matcher = await this.#grammar.start();
    try {
      return await ask((await this.#take(matcher, text)) === undefined ? undefined : matcher);
    } finally {
      matcher.dispose();
    }
  }

  /** @returns the tokens that were taken; undefined, and none, where the text does not fit */
  async #take(matcher: Matcher, text: string): Promise<number | undefined> {
    let count = 0;
    for (const [, ids] of this.#texts.tokensOf(text))
      for (const id of ids) {
        const taken = await matcher.accept(id).then(
          () => true,
          () => false,
        );
        if (!taken) {
          await matcher.rollback(count);
          return undefined;
        }
        count++;
      }
    return count;
  }

  async #forced(matcher: Matcher): Promise<string> {
    // A character that is not whole is none yet.
    return new TextDecoder().decode(await matcher.forcedText(), { stream: true });
  }

  /** First characters of the tokens of a mask, each once, rising. */
  #charsOf(allowed: Int32Array): string[] {
    const chars = new Set<string>();
    for (const [word, bits] of allowed.entries())
      for (let left = bits; left !== 0; left &= left - 1) {
        const text = this.#texts.plainOf(32 * word + 31 - Math.clz32(left & -left));
        if (text) chars.add(String.fromCodePoint(text.codePointAt(0)!));
      }
    return [...chars].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
  }
}
