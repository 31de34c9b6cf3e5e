// Splits an answer, while it comes, into thoughts, text and tool calls. It knows neither tokens nor the model.

import type { ToolCall } from "@jamba/tokenizer";
import { CallBlock } from "./call-block.ts";

/** A call that an answer makes. */
export interface AnswerCall extends ToolCall {
  /** Its own, for the message that answers it. */
  readonly id: string;
  /** The arguments as the model wrote them: what its pieces join to. */
  readonly json: string;
  /** The answer was cut within it: `arguments` is the text of its JSON up to there. */
  readonly incomplete?: true;
}

export type AnswerPiece =
  | { readonly text: string }
  | { readonly reasoning: string }
  /** The first piece of a call has its id and name; the pieces' `argumentsDelta`, one after another, are the JSON that the model wrote. */
  | { readonly toolCall: { readonly index: number; readonly id?: string; readonly name?: string; readonly argumentsDelta: string } };

export interface AnswerPartsOptions {
  /** The answer begins within `<think>`. One that begins with the tag itself does so too. */
  readonly thoughts?: boolean;
  /**
   * Calls are `<tool_calls>[…]</tool_calls>` and `<tool_call>{…}</tool_call>`, any number of each.
   * - "none" (default): none are looked for.
   * - "found": what turns out to be none is text, so a call shows only once it is whole.
   * - "offered": the answer is bound to well-formed ones. They show while they are written, and their markup is never text.
   * - "forced": the same, and there is no text at all.
   */
  readonly calls?: "none" | "found" | "offered" | "forced";
  /** The answer's first space belongs to the template, as in Jamba 1.5's, and is dropped. */
  readonly leadingSpace?: boolean;
  /** The answer ends before the first of these that its text or its thoughts have whole. Calls are not searched. */
  readonly stop?: readonly string[];
  /** What the answer goes on from. None of it is given out or searched, but of a call that it begins, which the answer ends. */
  readonly prefix?: string;
}

const thinkOpen = "<think>";
const thinkClose = "</think>";
const callTags = ["tool_calls", "tool_call"];

/**
 * However the text is cut into pushes, all pieces together are the same. A tag never shows, nor a part of one, nor a part of a stop text.
 *
 * Agrees with `parseToolCalls` on the text and calls of a whole answer, but for this:
 * - a call that follows a malformed one, or one in the other form, is still a call; and so is what `</tool_call>` within a string would cut;
 * - white space before the first text stays even if a call comes later, for it is out by then;
 * - of an answer that ends within a block of calls, the whole calls count; the begun one too where calls were offered.
 */
export class AnswerParts {
  readonly #calls: NonNullable<AnswerPartsOptions["calls"]>;
  #stops: readonly Sought[] = [];
  #leadingSpace: boolean;
  #mode: "start" | "thoughts" | "text" | "calls" | "stopped";
  /** Not yet given out: it may be the beginning of a tag or of a stop text, or white space that a tag or the end would drop. */
  #held = "";
  /** White space before a block of calls; text that follows brings it along. */
  #gap = "";
  #block: CallBlock | undefined;
  #nextIndex = 0;
  /** So many of the characters that are not given out yet come from the prefix, and never will be: the first ones. */
  #old = 0;
  /** Whether the prefix had such, which decides what white space is dropped behind it. */
  #had = { text: false, thoughts: false, calls: false };
  #afterThoughts = false;
  #pieces: AnswerPiece[] = [];
  #text = "";
  #reasoning: string | undefined;
  #pushed = 0;
  /** Characters at the end of what was pushed that may belong to a stop text. */
  #unsettled = 0;
  #stopString: string | undefined;
  readonly #toolCalls: AnswerCall[] = [];

  constructor({ thoughts = false, calls = "none", leadingSpace = false, stop = [], prefix = "" }: AnswerPartsOptions) {
    this.#calls = calls;
    this.#leadingSpace = leadingSpace && prefix === "";
    this.#mode = thoughts ? "thoughts" : "start";
    if (thoughts) this.#reasoning = "";
    if (prefix !== "") this.#goOnFrom(prefix);
    this.#stops = stop.map(soughtOf);
  }

  get text(): string {
    return this.#text;
  }

  /** Undefined if there were none. */
  get reasoning(): string | undefined {
    return this.#reasoning;
  }

  get toolCalls(): readonly AnswerCall[] {
    return this.#toolCalls;
  }

  /** The stop text that ended the answer. */
  get stopString(): string | undefined {
    return this.#stopString;
  }

  /** How many of the characters that were pushed are part of the answer whatever comes. */
  get settled(): number {
    return Math.max(0, this.#pushed - this.#unsettled);
  }

  push(text: string): AnswerPiece[] {
    if (this.#mode === "stopped") return [];
    this.#pushed += text.length;
    let rest: string | undefined = text;
    while (rest !== undefined) rest = this.#read(rest);
    return this.#take();
  }

  #goOnFrom(prefix: string): void {
    this.push(prefix);
    const block = this.#mode === "calls" ? this.#block : undefined;
    this.#had = { text: this.#hasText, thoughts: Boolean(this.#reasoning), calls: this.#hasCalls };
    this.#old = this.#gap.length + this.#held.length + (block?.raw.length ?? 0);
    this.#text = "";
    this.#reasoning = this.#mode === "thoughts" ? "" : undefined;
    this.#toolCalls.length = 0;
    this.#nextIndex = 0;
    this.#pushed = 0;
    block?.forget();
  }

  get #hasText(): boolean {
    return this.#had.text || this.#text !== "";
  }

  get #hasCalls(): boolean {
    return this.#had.calls || this.#toolCalls.length > 0;
  }

  /**
   * What is left, when no more will come.
   * @param isCut something other than the model ended the answer: what may be the beginning of markup is no text then
   */
  end({ isCut = false }: { readonly isCut?: boolean } = {}): AnswerPiece[] {
    if (this.#mode === "calls") this.#endCalls(this.#block!);
    if (this.#mode !== "stopped") this.#unsettled = 0;
    if (this.#mode === "thoughts") this.#giveThoughts(this.#held.trimEnd());
    else if (this.#calls !== "forced") {
      const unsure = isCut && this.#calls === "offered" ? overlapOfTags(this.#held) : 0;
      const rest = this.#gap + this.#held.slice(0, this.#held.length - unsure);
      this.#giveText(this.#hasCalls ? rest.trimEnd() : rest);
    }
    this.#held = "";
    return this.#take();
  }

  #endCalls(block: CallBlock): void {
    const whole = block.end(this.#calls !== "found");
    for (const piece of whole.pieces) this.#add(piece);
    this.#toolCalls.push(...whole.calls);
    if (block.hasCalls) this.#had.calls = true;
    else if (this.#calls === "found") this.#held = block.raw;
  }

  #take(): AnswerPiece[] {
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  /** @returns what another mode has to read, or undefined when all is read */
  #read(text: string): string | undefined {
    if (this.#mode === "stopped") return undefined;
    if (this.#mode === "calls") return this.#readCalls(text);
    this.#held += text;
    if (this.#mode === "start") return this.#readStart();
    return this.#mode === "thoughts" ? this.#readThoughts() : this.#readText();
  }

  #readStart(): string | undefined {
    const begun = this.#held.trimStart();
    const isThought = begun.startsWith(thinkOpen);
    // White space is text wherever it leads, so a stop text in it ends the answer.
    const end = this.#endOfSure(this.#held.length - begun.length, isThought);
    if (this.#stopString !== undefined) return this.#stop(end);
    if (!isThought && begun.length < thinkOpen.length && thinkOpen.startsWith(begun)) {
      if (this.#stops.length > 0) this.#unsettled = this.#held.length;
      return undefined;
    }
    this.#mode = isThought ? "thoughts" : "text";
    if (isThought) {
      this.#reasoning = "";
      this.#old = 0;
    }
    return this.#switch(isThought ? begun.slice(thinkOpen.length) : this.#held);
  }

  #switch(rest: string): string {
    this.#held = "";
    return rest;
  }

  /**
   * Looks for stop texts.
   * @param within how many characters of what is held are thoughts or text for sure
   * @param isWhole a tag follows them
   * @returns how many of them can be no part of a stop text, or where the one that was found begins
   */
  #endOfSure(within: number, isWhole: boolean): number {
    const from = Math.min(Math.max(this.#dropped(), this.#old - this.#gap.length), within);
    const text = this.#held.slice(from, within);
    const found = this.#stops
      .map(({ text: stop }) => ({ stop, at: text.indexOf(stop) }))
      .filter(({ at }) => at >= 0)
      // The first to end, and of two that end together the longer one: so no cut into pieces makes a difference.
      .sort((a, b) => a.at + a.stop.length - (b.at + b.stop.length) || a.at - b.at)[0];
    this.#stopString = found?.stop;
    const unsure = isWhole ? 0 : Math.max(0, ...this.#stops.map((stop) => overlap(text, stop)));
    const end = from + (found?.at ?? text.length - unsure);
    if (this.#stops.length > 0) this.#unsettled = this.#held.length - end;
    return end;
  }

  /** How many characters, of those that are held, no reader would see: stop texts are not meant for them. */
  #dropped(): number {
    if (this.#mode === "thoughts" || this.#hasText) return 0;
    if (this.#calls === "forced") return this.#held.length;
    if (this.#afterThoughts || this.#hasCalls) return this.#held.length - this.#held.trimStart().length;
    return this.#leadingSpace && this.#held.startsWith(" ") ? 1 : 0;
  }

  /** Ends the answer within its text. */
  #stop(end: number): undefined {
    const rest = this.#gap + this.#held.slice(0, end);
    this.#giveText(this.#hasCalls ? rest.trimEnd() : rest);
    this.#held = "";
    this.#mode = "stopped";
  }

  #readThoughts(): string | undefined {
    const close = this.#held.indexOf(thinkClose);
    const within = close < 0 ? this.#held.length - overlap(this.#held, thinkEnd) : close;
    const end = this.#endOfSure(within, close >= 0);
    if (this.#stopString === undefined && close < 0) {
      const sure = this.#held.slice(0, end).trimEnd();
      this.#giveThoughts(sure);
      this.#held = this.#held.slice(sure.length);
      return undefined;
    }
    this.#giveThoughts(this.#held.slice(0, end).trimEnd());
    this.#old = 0;
    const rest = this.#switch(this.#held.slice(close + thinkClose.length));
    this.#mode = this.#stopString === undefined ? "text" : "stopped";
    this.#afterThoughts = true;
    return rest;
  }

  #readText(): string | undefined {
    const opening = this.#calls === "none" ? undefined : firstTag(this.#held);
    const within = opening ? opening.at : this.#held.length - (this.#calls === "none" ? 0 : overlapOfTags(this.#held));
    const end = this.#endOfSure(within, opening !== undefined);
    if (this.#stopString !== undefined) return this.#stop(end);
    // White space waits: calls drop it.
    const sure = this.#calls === "none" ? this.#held.slice(0, end) : this.#held.slice(0, end).trimEnd();
    if (sure !== "") {
      this.#giveText(this.#gap + sure);
      this.#gap = "";
    }
    if (!opening) {
      this.#held = this.#held.slice(sure.length);
      return undefined;
    }
    this.#gap += this.#held.slice(sure.length, opening.at);
    this.#unsettled = 0;
    this.#mode = "calls";
    this.#block = new CallBlock(opening.tag, this.#nextIndex);
    return this.#switch(this.#held.slice(opening.at + opening.tag.length + "<>".length));
  }

  #readCalls(text: string): string | undefined {
    const block = this.#block!;
    const read = block.push(text);
    if (this.#calls !== "found" || block.state === "closed") for (const piece of block.take()) this.#add(piece);
    if (block.state === "open") return undefined;
    this.#mode = "text";
    if (block.state === "closed") {
      this.#nextIndex = block.nextIndex;
      this.#toolCalls.push(...block.calls);
      this.#old = Math.min(this.#old, this.#gap.length);
      if (block.hasCalls) this.#had.calls = true;
    } else {
      // Text from its tag on, with the white space before it.
      this.#nextIndex = this.#calls === "found" ? this.#nextIndex : block.nextIndex + (block.isOut ? 1 : 0);
      this.#giveText(this.#gap + block.raw);
      this.#gap = "";
    }
    const rest = text.slice(read);
    return rest === "" ? undefined : rest;
  }

  #giveThoughts(text: string): void {
    const fresh = this.#withoutOld(text);
    const shown = this.#reasoning === "" && !this.#had.thoughts ? fresh.trimStart() : fresh;
    if (shown === "") return;
    this.#reasoning += shown;
    this.#add({ reasoning: shown });
  }

  #giveText(text: string): void {
    if (this.#calls === "forced") return;
    let shown = this.#withoutOld(text);
    if (!this.#hasText && (this.#afterThoughts || this.#hasCalls)) shown = shown.trimStart();
    else if (!this.#hasText && this.#leadingSpace && shown.startsWith(" ")) shown = shown.slice(1);
    if (shown === "") return;
    this.#leadingSpace = false;
    this.#text += shown;
    this.#add({ text: shown });
  }

  #withoutOld(text: string): string {
    const fresh = text.slice(this.#old);
    this.#old = Math.max(0, this.#old - text.length);
    return fresh;
  }

  /** Joins what belongs together. */
  #add(piece: AnswerPiece): void {
    const before = this.#pieces.at(-1);
    const joined = before && join(before, piece);
    if (joined) this.#pieces[this.#pieces.length - 1] = joined;
    else this.#pieces.push(piece);
  }
}

function join(before: AnswerPiece, piece: AnswerPiece): AnswerPiece | undefined {
  if ("text" in before && "text" in piece) return { text: before.text + piece.text };
  if ("reasoning" in before && "reasoning" in piece) return { reasoning: before.reasoning + piece.reasoning };
  if (!("toolCall" in before && "toolCall" in piece) || before.toolCall.index !== piece.toolCall.index) return undefined;
  return { toolCall: { ...before.toolCall, argumentsDelta: before.toolCall.argumentsDelta + piece.toolCall.argumentsDelta } };
}

function firstTag(text: string): { at: number; tag: string } | undefined {
  const found = callTags.map((tag) => ({ at: text.indexOf(`<${tag}>`), tag })).filter(({ at }) => at >= 0);
  return found.sort((a, b) => a.at - b.at)[0];
}

function overlapOfTags(text: string): number {
  return Math.max(...callOpenings.map((opening) => overlap(text, opening)));
}

/** A text that is looked for again and again, with the length of the longest end of each of its beginnings that begins it (Knuth, Morris and Pratt 1977). */
interface Sought {
  readonly text: string;
  readonly borders: Uint32Array;
}

function soughtOf(text: string): Sought {
  const borders = new Uint32Array(text.length);
  for (let i = 1; i < text.length; i++) borders[i] = longer(text, borders, borders[i - 1], text.charCodeAt(i));
  return { text, borders };
}

const thinkEnd = soughtOf(thinkClose);
const callOpenings = callTags.map((tag) => soughtOf(`<${tag}>`));

/** From so many characters that match to those that do with one more. */
function longer(text: string, borders: Uint32Array, matched: number, unit: number): number {
  let length = matched;
  while (length > 0 && text.charCodeAt(length) !== unit) length = borders[length - 1];
  return text.charCodeAt(length) === unit ? length + 1 : 0;
}

/** Length of the longest end of `text` that begins `sought`, which it has not whole. There may be hundreds of them, and an end for each token. */
function overlap(text: string, { text: sought, borders }: Sought): number {
  let length = 0;
  for (let i = Math.max(0, text.length - sought.length + 1); i < text.length; i++)
    length = longer(sought, borders, length, text.charCodeAt(i));
  return length;
}
