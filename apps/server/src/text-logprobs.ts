// Log probabilities as OpenAI's completions show them: parallel lists over the tokens of a text, of a prompt too where it is echoed.

import type { DrawnLogprob, JambaModel, ScoreOptions, TextOrIds, TokenText } from "jamba";
import { finite, tokenText } from "./wire.ts";

/** A token of a prompt or an answer; the first of a prompt follows nothing. */
export type ShownToken = DrawnLogprob | (TokenText & { readonly logprob: null });

/**
 * A prompt's tokens, each after those before it. A token that the tokenizer puts before every text is read and not shown: it is no part of
 * the text.
 */
export async function promptLogprobs(model: JambaModel, prompt: TextOrIds, options: ScoreOptions): Promise<ShownToken[]> {
  const { tokenizer } = model;
  const ids = typeof prompt === "string" ? tokenizer.encode(prompt, { addBos: tokenizer.addBos }) : prompt;
  const hidden = typeof prompt === "string" ? ids.length - tokenizer.encode(prompt).length : 0;
  if (ids.length <= hidden) return [];
  const { tokens } = await model.score(ids.slice(0, 1), ids.slice(1), options);
  const { token: text, bytes } = tokenText(model, ids[0]);
  const [first, ...rest] = [{ text, bytes }, ...(tokens as DrawnLogprob[])].slice(hidden);
  return [{ text: first.text, bytes: first.bytes, logprob: null }, ...(rest as DrawnLogprob[])];
}

/** The lists of one choice, piece by piece. Offsets count characters (code points), as OpenAI's do. */
export class TextLogprobs {
  #offset: number;

  /** @param echo what stands before the answer, and its tokens, if they are to come: these may have more text, such as a first space */
  constructor(echo: string, prompt: readonly ShownToken[]) {
    this.#offset = [...echo].length - prompt.reduce((sum, { bytes }) => sum + charactersOf(bytes), 0);
  }

  /** @returns null without tokens */
  next(tokens: readonly ShownToken[]): object | null {
    if (tokens.length === 0) return null;
    return {
      tokens: tokens.map(({ text }) => text),
      token_logprobs: tokens.map(({ logprob }) => logprob && finite(logprob)),
      top_logprobs: tokens.map((token) => (token.logprob === null ? null : alternatives(token))),
      text_offset: tokens.map((token) => this.#offsetOf(token)),
    };
  }

  /** A token that goes on with a character begins where the character does. */
  #offsetOf({ bytes }: TokenText): number {
    const isInside = bytes.length > 0 && isContinuation(bytes[0]);
    const at = this.#offset - (isInside ? 1 : 0);
    this.#offset += charactersOf(bytes);
    return Math.max(0, at);
  }
}

/** By text, of which several tokens may have the same: that of the best. The token itself is always there. */
function alternatives({ text, logprob, top }: DrawnLogprob): Record<string, number> {
  const found = new Map<string, number>();
  for (const one of [...top, { text, logprob }]) if (!found.has(one.text)) found.set(one.text, finite(one.logprob));
  return Object.fromEntries(found);
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

/** Characters that begin in these bytes of UTF-8. */
function charactersOf(bytes: readonly number[]): number {
  return bytes.filter((byte) => !isContinuation(byte)).length;
}
