// Ids to text as they come, never half a character.

import type { Tokenizer } from "./tokenizer.ts";

type Pieces = Pick<Tokenizer, "pieceOf" | "isSpecial" | "lead">;

/**
 * Byte tokens wait until they make a character; bytes that never do become U+FFFD, as in the Encoding standard.
 * The pieces of all ids, one after another, are the text of the whole.
 */
export class StreamDecoder {
  readonly #tokenizer: Pieces;
  readonly #skipSpecialTokens: boolean;
  // A byte-order mark is a character of the text like any other.
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  readonly #byte = new Uint8Array(1);
  #hasBytes = false;
  #leadLeft: number;

  constructor(tokenizer: Pieces, { skipSpecialTokens = false }: { skipSpecialTokens?: boolean } = {}) {
    this.#tokenizer = tokenizer;
    this.#skipSpecialTokens = skipSpecialTokens;
    this.#leadLeft = tokenizer.lead.count;
  }

  /** @throws TokenizerError for an id outside the vocabulary, with nothing lost */
  push(id: number): string {
    const piece = this.#tokenizer.pieceOf(id);
    if (typeof piece === "number") {
      this.#byte[0] = piece;
      this.#hasBytes = true;
      return this.#dropLead(this.#decoder.decode(this.#byte, { stream: true }));
    }
    if (this.#skipSpecialTokens && this.#tokenizer.isSpecial(id)) return this.#dropLead(this.#flush());
    return this.#dropLead(this.#flush() + piece);
  }

  /** What is left when no more will come. The decoder can be used again, for another text. */
  end(): string {
    const rest = this.#dropLead(this.#flush());
    this.#leadLeft = this.#tokenizer.lead.count;
    return rest;
  }

  #flush(): string {
    if (!this.#hasBytes) return "";
    this.#hasBytes = false;
    return this.#decoder.decode();
  }

  #dropLead(text: string): string {
    let kept = text;
    while (this.#leadLeft > 0 && kept !== "") {
      if (!kept.startsWith(this.#tokenizer.lead.text)) this.#leadLeft = 0;
      else {
        kept = kept.slice(this.#tokenizer.lead.text.length);
        this.#leadLeft--;
      }
    }
    return kept;
  }
}
