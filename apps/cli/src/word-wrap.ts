// Text that comes in pieces, broken between words at the width of a terminal. A word is shown when it is whole, which is when the next
// space comes; what wrapping would harm is passed on as it is: code, tables, and words longer than a line, such as URLs.

import stringWidth from "string-width";

type Sink = (text: string) => void;

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });
/** Scripts without spaces between words: a line may end before each of these, but not after an opening bracket. */
const isIdeograph = (grapheme: string) => /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u.test(grapheme);
const isOpening = (grapheme: string) => /^\p{Ps}/u.test(grapheme);
/** Line breaks, spaces at which a line may end, and words, which hold the no-break spaces. */
const parts = /([\n\r])|([ \t\u2000-\u2006\u2008-\u200a\u3000])|[^\n\r \t\u2000-\u2006\u2008-\u200a\u3000]+/g;
const fences = /^(`{3,}|~{3,})/;

export class WordWrap {
  /** Columns of the line that were written. */
  #column = 0;
  #space = "";
  #word: { text: string; to: Sink }[] = [];
  #isLineBegun = false;
  /** Whether the rest of the line is passed on. */
  #isRaw = false;
  /** Whether a word longer than the line is under way. */
  #isLong = false;
  #fence: string | undefined;
  /** What is to be shown at the end of a call. */
  #shown: { text: string; to: Sink }[] = [];

  /** @param columns of the terminal as it is at the moment; undefined where nothing is to be wrapped */
  constructor(readonly columns: () => number | undefined) {}

  write(text: string, to: Sink): void {
    for (const [part, newline, space] of text.matchAll(parts)) {
      if (newline) this.#endLine(part, to);
      else if (space) this.#addSpace(part);
      else this.#addWord(part, to);
    }
    this.#show();
  }

  /** Shows what is still held. */
  end(): void {
    this.#flush();
    this.#show();
  }

  #show(): void {
    for (const { text, to } of this.#shown.splice(0)) to(text);
  }

  #put(text: string, to: Sink): void {
    const last = this.#shown.at(-1);
    if (last?.to === to) last.text += text;
    else if (text !== "") this.#shown.push({ text, to });
  }

  #endLine(newline: string, to: Sink): void {
    this.#flush();
    this.#put((this.#isRaw ? this.#space : "") + newline, to);
    [this.#column, this.#space, this.#isLineBegun, this.#isRaw] = [0, "", false, this.#fence !== undefined];
  }

  #addSpace(space: string): void {
    this.#flush();
    this.#space += space;
    // Indented like code.
    if (!this.#isLineBegun && /^( {4}|\t)/.test(this.#space)) this.#isRaw = true;
  }

  #addWord(text: string, to: Sink): void {
    if (this.#isLong) {
      this.#put(text, to);
      this.#advance(text);
      return;
    }
    for (const { segment } of graphemes.segment(text)) {
      const before = this.#word.at(-1)?.text ?? "";
      const isPlace = stringWidth(segment) > 1 && (isIdeograph(segment) || isOpening(segment));
      if (isPlace && before !== "" && !isOpening(before.slice(-1))) this.#flush();
      const held = this.#word.at(-1);
      if (held?.to === to) held.text += segment;
      else this.#word.push({ text: segment, to });
    }
    const columns = this.columns();
    if (columns === undefined || stringWidth(this.#held) < columns) return;
    this.#flush();
    this.#isLong = true;
  }

  /** Of the word that is held. */
  get #held(): string {
    return this.#word.map(({ text }) => text).join("");
  }

  #flush(): void {
    this.#isLong = false;
    const [first] = this.#word;
    if (!first) return;
    const word = this.#held;
    if (!this.#isLineBegun) this.#beginLine(word);
    const columns = this.columns() ?? Number.POSITIVE_INFINITY;
    const end = this.#column + stringWidth(this.#space) + stringWidth(word);
    if (!this.#isRaw && this.#column > 0 && end > columns) {
      this.#put("\n", first.to);
      this.#column = 0;
    } else {
      this.#put(this.#space, first.to);
      this.#advance(this.#space);
    }
    for (const { text, to } of this.#word) this.#put(text, to);
    this.#advance(word);
    [this.#word, this.#space] = [[], ""];
  }

  #beginLine(word: string): void {
    this.#isLineBegun = true;
    const [fence] = fences.exec(word) ?? [];
    if (this.#fence === undefined ? fence !== undefined : fence?.startsWith(this.#fence)) {
      this.#fence = this.#fence === undefined ? fence : undefined;
      this.#isRaw = true;
    }
    if (word.startsWith("|")) this.#isRaw = true;
  }

  #advance(text: string): void {
    const columns = this.columns();
    for (const one of text.split(/(\t)/)) this.#column += one === "\t" ? 8 - (this.#column % 8) : stringWidth(one);
    // The terminal itself went on in the next line.
    if (columns !== undefined && this.#column > columns) this.#column = ((this.#column - 1) % columns) + 1;
  }
}
