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

export function tokenText(tokenizer: Tokenizer | undefined, id: number): TokenText {
  if (tokenizer?.tokenOf(id) === undefined) return { text: "", bytes: [] };
  const piece = tokenizer.pieceOf(id);
  return typeof piece === "number" ? { text: "\ufffd", bytes: [piece] } : { text: piece, bytes: [...encoder.encode(piece)] };
}

export function withText(tokenizer: Tokenizer | undefined, { id, logprob }: IdLogprob): TokenLogprob {
  return { id, ...tokenText(tokenizer, id), logprob };
}
