// Log probabilities as OpenAI's completions show them: parallel lists over the tokens of a text, of a prompt too where it is echoed.

import type { DrawnLogprob, JambaModel, ScoreOptions, TextOrIds, TokenText } from "jamba";
import { LazyList } from "./json.ts";
import { finite, tokenText } from "./wire.ts";

/** A token of a prompt or an answer; the first of a prompt follows nothing. */
export type ShownToken = DrawnLogprob | (TokenText & { readonly logprob: null });

/**
 * A prompt's tokens, each after those before it. A token that the tokenizer puts before every text is read and not shown: it is no part of
 * the text.
 */
export async function promptLogprobs(model: JambaModel, prompt: TextOrIds, options: ScoreOptions): Promise<ShownToken[]> {
  const { tokenizer } = model;
  const { signal } = options;
  const alone = typeof prompt === "string" ? await tokenizer.encodeAsync(prompt, { signal }) : prompt;
  const ids = typeof prompt === "string" ? await tokenizer.encodeAsync(prompt, { addBos: tokenizer.addBos, signal }) : prompt;
  const hidden = ids.length - alone.length;
  if (ids.length <= hidden) return [];
  const { tokens } = await model.score(ids.slice(0, 1), ids.slice(1), options);
  const { token: text, bytes } = tokenText(model, ids[0]);
  const [first, ...rest] = [{ text, bytes }, ...(tokens as DrawnLogprob[])].slice(hidden);
  return [{ text: first.text, bytes: first.bytes, logprob: null }, ...(rest as DrawnLogprob[])];
}

/**
 * Where the first token of a choice begins.
 * @param echo what stands before the answer, and its tokens, if they are to come: these may have more text, such as a first space
 */
export function firstOffset(echo: string, prompt: readonly ShownToken[]): number {
  return codePoints(echo) - prompt.reduce((sum, { bytes }) => sum + charactersOf(bytes), 0);
}

/** The lists of one choice, piece by piece, each to be written once. Offsets count characters (code points), as OpenAI's do. */
export class TextLogprobs {
  #offset: number;

  constructor(offset: number) {
    this.#offset = offset;
  }

  /** @returns null without tokens */
  next(first: readonly ShownToken[], second: readonly ShownToken[] = []): object | null {
    const length = first.length + second.length;
    if (length === 0) return null;
    const each = (make: (token: ShownToken) => unknown) =>
      new LazyList(length, (i) => make(i < first.length ? first[i] : second[i - first.length]));
    return {
      tokens: each(({ text }) => text),
      token_logprobs: each(({ logprob }) => logprob && finite(logprob)),
      top_logprobs: each((token) => (token.logprob === null ? null : alternatives(token))),
      text_offset: each((token) => this.#offsetOf(token)),
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

function codePoints(text: string): number {
  let count = 0;
  for (let i = 0; i < text.length; i++)
    if ((text.charCodeAt(i) & 0xfc00) !== 0xdc00 || (text.charCodeAt(i - 1) & 0xfc00) !== 0xd800) count++;
  return count;
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
  let count = 0;
  for (const byte of bytes) if (!isContinuation(byte)) count++;
  return count;
}
