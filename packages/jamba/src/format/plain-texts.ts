// Tokens of texts in which nothing stands for a control token, as grammars see them.

import type { Tokenizer } from "@jamba/tokenizer";
import { tags } from "./format.ts";

const utf8 = new TextEncoder();

export class PlainTexts {
  readonly #tokenizer: Tokenizer;
  /** Tokens that are no text, rising. */
  readonly controlIds: readonly number[];
  readonly #idOfByte = new Map<number, number>();

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
    const ids = Array.from({ length: tokenizer.vocabSize }, (_, id) => id);
    this.controlIds = ids.filter((id) => this.isControl(id));
    for (let byte = 0; byte < 256; byte++) {
      const id = tokenizer.idOf(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
      if (id !== undefined) this.#idOfByte.set(byte, id);
    }
  }

  /** Some vocabularies mark plain characters as special, such as Jamba 1.5 its comma. */
  isControl(id: number): boolean {
    return this.#tokenizer.isSpecial(id) && this.#tokenizer.tokenOf(id)!.length > 1;
  }

  controlOf(token: string): number | undefined {
    const id = this.#tokenizer.idOf(token);
    return id !== undefined && this.isControl(id) ? id : undefined;
  }

  /** What a token adds to a text, as bytes where it is part of a character; undefined where there is no such token. */
  textOf(id: number): string | Uint8Array | undefined {
    const piece = this.#tokenizer.tokenOf(id) === undefined ? undefined : this.#tokenizer.pieceOf(id);
    return typeof piece === "number" ? Uint8Array.of(piece) : piece;
  }

  /** The text of a token that is one; undefined for control tokens and for bytes. */
  plainOf(id: number): string | undefined {
    const text = this.isControl(id) ? undefined : this.textOf(id);
    return typeof text === "string" ? text : undefined;
  }

  /** Tokens that spell `text` and nothing else, wherever it stands: as the tokenizer has them, or one character after another. */
  encode(text: string): readonly number[] {
    const ids = this.#tokenizer.encode(text);
    if (this.#spell(ids, text)) return ids;
    return [...text].flatMap((char) => {
      const own = this.#tokenizer.encode(char);
      return this.#spell(own, char) ? own : Array.from(utf8.encode(char), (byte) => this.#idOfByte.get(byte) ?? []).flat();
    });
  }

  /** A text with tags that may be tokens of their own: where each part begins, and its tokens. */
  *tokensOf(text: string): Generator<[from: number, ids: readonly number[]]> {
    let from = 0;
    for (const { index, 0: tag } of text.matchAll(new RegExp(tags.join("|"), "g"))) {
      const id = this.controlOf(tag);
      if (id === undefined) continue;
      if (index > from) yield [from, this.encode(text.slice(from, index))];
      yield [index, [id]];
      from = index + tag.length;
    }
    if (from < text.length) yield [from, this.encode(text.slice(from))];
  }

  /** Units of the text that these tokens spell. */
  lengthOf(ids: readonly number[]): number {
    return new TextDecoder().decode(this.#bytesOf(ids)).length;
  }

  #spell(ids: readonly number[], text: string): boolean {
    if (ids.some((id) => this.isControl(id))) return false;
    const [found, expected] = [this.#bytesOf(ids), utf8.encode(text)];
    return found.length === expected.length && found.every((byte, i) => byte === expected[i]);
  }

  #bytesOf(ids: readonly number[]): Uint8Array {
    return Uint8Array.from(
      ids.flatMap((id) => {
        const text = this.textOf(id) ?? "";
        return [...(typeof text === "string" ? utf8.encode(text) : text)];
      }),
    );
  }
}
