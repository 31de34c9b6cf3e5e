// Ids to text as they come, never half a character.

import type { Tokenizer } from "./tokenizer.ts";

/**
 * Byte tokens wait until they make a character; bytes that never do become U+FFFD, as in the Encoding standard.
 * The pieces of all ids, one after another, are the text of the whole.
 */
export class StreamDecoder {
  readonly #tokenizer: Pick<Tokenizer, "pieceOf" | "isSpecial">;
  readonly #skipSpecialTokens: boolean;
  readonly #bytes = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(tokenizer: Pick<Tokenizer, "pieceOf" | "isSpecial">, { skipSpecialTokens = false }: { skipSpecialTokens?: boolean } = {}) {
    this.#tokenizer = tokenizer;
    this.#skipSpecialTokens = skipSpecialTokens;
  }

  /** @throws TokenizerError for an id outside the vocabulary, with nothing lost */
  push(id: number): string {
    const piece = this.#tokenizer.pieceOf(id);
    if (typeof piece === "number") return this.#bytes.decode(Uint8Array.of(piece), { stream: true });
    if (this.#skipSpecialTokens && this.#tokenizer.isSpecial(id)) return this.end();
    return this.end() + piece;
  }

  /** What is left when no more will come. The decoder can be used again. */
  end(): string {
    return this.#bytes.decode();
  }
}
