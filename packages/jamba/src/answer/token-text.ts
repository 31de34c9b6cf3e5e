// A token as people see it: its text and its bytes.

import type { Tokenizer } from "@jamba/tokenizer";
import type { IdLogprob } from "./sampler.ts";

export interface TokenText {
  /** A special token is spelled out; a part of a character is U+FFFD. Empty without a tokenizer, and for ids that it does not know. */
  readonly text: string;
  /** Of `text` in UTF-8; of a part of a character its own, which together with its neighbours' make up the character. */
  readonly bytes: readonly number[];
}

export interface TokenLogprob extends TokenText {
  readonly id: number;
  /** Natural logarithm. */
  readonly logprob: number;
}

const encoder = new TextEncoder();

/** Each token's, once: answers with alternatives have millions of them, and would hold as many copies. */
const known = new WeakMap<Tokenizer, Map<number, TokenText>>();

export function tokenText(tokenizer: Tokenizer | undefined, id: number): TokenText {
  if (tokenizer?.tokenOf(id) === undefined) return { text: "", bytes: [] };
  const texts = known.get(tokenizer) ?? new Map<number, TokenText>();
  if (texts.size === 0) known.set(tokenizer, texts);
  let found = texts.get(id);
  if (!found) {
    const piece = tokenizer.pieceOf(id);
    found = typeof piece === "number" ? { text: "\ufffd", bytes: [piece] } : { text: piece, bytes: [...encoder.encode(piece)] };
    texts.set(id, found);
  }
  return found;
}

export function withText(tokenizer: Tokenizer | undefined, { id, logprob }: IdLogprob): TokenLogprob {
  const { text, bytes } = tokenText(tokenizer, id);
  return { id, text, bytes, logprob };
}
