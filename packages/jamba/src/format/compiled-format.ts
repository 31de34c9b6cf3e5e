// A format on its own: what it takes, and what may come next, for editors and tests.

import type { Grammar, Matcher } from "@jamba/grammar";
import type { PlainTexts } from "./plain-texts.ts";
import { takeText } from "./take-text.ts";

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
    return this.#after(text, async (matcher, fits) => fits === text.length && (await matcher.mayEnd()));
  }

  /** Units of a text that an answer may begin with: all where only its end may be missing. */
  lengthThatFits(text: string): Promise<number> {
    return this.#after(text, async (_, fits) => fits);
  }

  /**
   * Texts that may follow `prefix`, each as far as it leaves no choice, in the order of their characters: `["dark ", "light grey\""]`.
   * Empty where nothing may follow, where the prefix does not fit, and where the choice is wide, as within a free string.
   */
  completions(prefix: string): Promise<readonly string[]> {
    return this.#after(prefix, async (matcher, fits) => {
      if (fits < prefix.length) return [];
      const forced = await this.#forced(matcher);
      if (forced !== "") return [forced];
      const chars = this.#charsOf(await matcher.allowed());
      if (chars.length > maxChoices) return [];
      const found: string[] = [];
      for (const char of chars) {
        const taken = await takeText(matcher, char, this.#texts);
        if (taken.fits === char.length) found.push(char + (await this.#forced(matcher)));
        await matcher.rollback(taken.tokens);
      }
      return found;
    });
  }

  /** @param ask of an answer that has come as far as `text` fits */
  async #after<T>(text: string, ask: (matcher: Matcher, fits: number) => Promise<T>): Promise<T> {
    const matcher = await this.#grammar.start();
    try {
      const { fits } = await takeText(matcher, text, this.#texts);
      return await ask(matcher, fits);
    } finally {
      matcher.dispose();
    }
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
