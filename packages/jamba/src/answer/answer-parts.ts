// Splits an answer, while it comes, into thoughts, text and tool calls. It knows neither tokens nor the model.

import type { ToolCall } from "@jamba/tokenizer";

export type AnswerPiece =
  | { readonly text: string }
  | { readonly reasoning: string }
  /** The first piece of a call has its name; the pieces' `argumentsDelta`, one after another, are the JSON that the model wrote. */
  | { readonly toolCall: { readonly index: number; readonly name?: string; readonly argumentsDelta: string } };

export interface AnswerPartsOptions {
  /** The answer begins within `<think>`. One that begins with the tag itself does so too. */
  readonly thoughts?: boolean;
  /** Look for calls: `<tool_calls>[…]</tool_calls>` and `<tool_call>{…}</tool_call>`, any number of each. */
  readonly tools?: boolean;
  /** The answer's first space belongs to the template, as in Jamba 1.5's, and is dropped. */
  readonly leadingSpace?: boolean;
}

const thinkOpen = "<think>";
const thinkClose = "</think>";
const callTags = ["tool_calls", "tool_call"];

/**
 * However the text is cut into pushes, all pieces together are the same. A tag never shows, nor does a part of one.
 *
 * Agrees with `parseToolCalls` on the text and calls of a whole answer, but for this:
 * - a call that follows a malformed one, or one in the other form, is still a call; and so is what `</tool_call>` within a string would cut;
 * - white space before the first text stays even if a call comes later, for it is out by then;
 * - of an answer that ends within a call, the whole calls count, and the begun one is no text if some of its arguments are out.
 *
 * What turns out malformed is text from its tag on, even if pieces of its arguments are out; `toolCalls` never has it.
 */
export class AnswerParts {
  readonly #tools: boolean;
  #leadingSpace: boolean;
  #mode: "start" | "thoughts" | "text" | "calls";
  /** Not yet given out: it may be the beginning of a tag, or white space that a tag or the end would drop. */
  #held = "";
  #block: CallBlock | undefined;
  #nextIndex = 0;
  #afterThoughts = false;
  #pieces: AnswerPiece[] = [];
  #text = "";
  #reasoning: string | undefined;
  readonly #toolCalls: ToolCall[] = [];

  constructor({ thoughts = false, tools = false, leadingSpace = false }: AnswerPartsOptions) {
    this.#tools = tools;
    this.#leadingSpace = leadingSpace;
    this.#mode = thoughts ? "thoughts" : "start";
    if (thoughts) this.#reasoning = "";
  }

  get text(): string {
    return this.#text;
  }

  /** Undefined if there were none. */
  get reasoning(): string | undefined {
    return this.#reasoning;
  }

  get toolCalls(): readonly ToolCall[] {
    return this.#toolCalls;
  }

  push(text: string): AnswerPiece[] {
    let rest: string | undefined = text;
    while (rest !== undefined) rest = this.#read(rest);
    return this.#take();
  }

  /** What is left, when no more will come. */
  end(): AnswerPiece[] {
    if (this.#mode === "calls") {
      const { calls, isOut, raw } = this.#block!;
      this.#toolCalls.push(...calls);
      if (calls.length === 0 && !isOut) this.#held += raw;
    }
    if (this.#mode === "thoughts") this.#giveThoughts(this.#held.trimEnd());
    else {
      this.#giveText(this.#toolCalls.length > 0 ? this.#held.trimEnd() : this.#held);
    }
    this.#held = "";
    return this.#take();
  }

  #take(): AnswerPiece[] {
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  /** @returns what another mode has to read, or undefined when all is read */
  #read(text: string): string | undefined {
    if (this.#mode === "calls") return this.#readCalls(text);
    this.#held += text;
    if (this.#mode === "start") return this.#readStart();
    return this.#mode === "thoughts" ? this.#readThoughts() : this.#readText();
  }

  #readStart(): string | undefined {
    const begun = this.#held.trimStart();
    if (begun.length < thinkOpen.length && thinkOpen.startsWith(begun)) return undefined;
    const isThought = begun.startsWith(thinkOpen);
    this.#mode = isThought ? "thoughts" : "text";
    if (isThought) this.#reasoning = "";
    return this.#switch(isThought ? begun.slice(thinkOpen.length) : this.#held);
  }

  #switch(rest: string): string {
    this.#held = "";
    return rest;
  }

  #readThoughts(): string | undefined {
    const end = this.#held.indexOf(thinkClose);
    if (end >= 0) {
      this.#giveThoughts(this.#held.slice(0, end).trimEnd());
      this.#mode = "text";
      this.#afterThoughts = true;
      return this.#switch(this.#held.slice(end + thinkClose.length));
    }
    const sure = this.#held.slice(0, this.#held.length - overlap(this.#held, thinkClose)).trimEnd();
    this.#giveThoughts(sure);
    this.#held = this.#held.slice(sure.length);
    return undefined;
  }

  #readText(): string | undefined {
    if (!this.#tools) {
      this.#giveText(this.#held);
      this.#held = "";
      return undefined;
    }
    const opening = firstTag(this.#held);
    const before = opening ? this.#held.slice(0, opening.at) : this.#held;
    const unsure = opening ? 0 : Math.max(...callTags.map((tag) => overlap(before, `<${tag}>`)));
    // White space waits: calls drop it.
    const sure = before.slice(0, before.length - unsure).trimEnd();
    this.#giveText(sure);
    const rest = this.#held.slice(before.length);
    this.#held = this.#held.slice(sure.length, opening && before.length);
    if (!opening) return undefined;
    this.#mode = "calls";
    this.#block = new CallBlock(opening.tag, this.#nextIndex);
    return rest.slice(opening.tag.length + "<>".length);
  }

  #readCalls(text: string): string | undefined {
    const block = this.#block!;
    const read = block.push(text, (piece) => this.#add(piece));
    if (block.state === "open") return undefined;
    this.#mode = "text";
    this.#nextIndex = block.nextIndex + (block.isOut ? 1 : 0);
    if (block.state === "closed") this.#toolCalls.push(...block.calls);
    else {
      // Text from its tag on, with the white space before it.
      this.#giveText(this.#held + block.raw);
      this.#held = "";
    }
    const rest = text.slice(read);
    return rest === "" ? undefined : rest;
  }

  #giveThoughts(text: string): void {
    const first = this.#reasoning === "";
    const shown = first ? text.trimStart() : text;
    if (shown === "") return;
    this.#reasoning += shown;
    this.#add({ reasoning: shown });
  }

  #giveText(text: string): void {
    let shown = text;
    if (this.#text === "" && (this.#afterThoughts || this.#toolCalls.length > 0)) shown = shown.trimStart();
    else if (this.#text === "" && this.#leadingSpace && shown.startsWith(" ")) shown = shown.slice(1);
    if (shown === "") return;
    this.#leadingSpace = false;
    this.#text += shown;
    this.#add({ text: shown });
  }

  /** Joins what belongs together. */
  #add(piece: AnswerPiece): void {
    const before = this.#pieces.at(-1);
    if (before && "text" in before && "text" in piece) this.#pieces[this.#pieces.length - 1] = { text: before.text + piece.text };
    else if (before && "reasoning" in before && "reasoning" in piece)
      this.#pieces[this.#pieces.length - 1] = { reasoning: before.reasoning + piece.reasoning };
    else if (before && "toolCall" in before && "toolCall" in piece && before.toolCall.index === piece.toolCall.index)
      this.#pieces[this.#pieces.length - 1] = {
        toolCall: { ...before.toolCall, argumentsDelta: before.toolCall.argumentsDelta + piece.toolCall.argumentsDelta },
      };
    else this.#pieces.push(piece);
  }
}

/** Between an opening tag and its closing one: a call, or an array of calls. */
class CallBlock {
  state: "open" | "closed" | "malformed" = "open";
  /** With its tag, as far as it is read. */
  raw: string;
  /** Whole ones. */
  readonly calls: ToolCall[] = [];
  nextIndex: number;
  /** Whether a piece of the call that is being read is out. */
  isOut = false;
  readonly #close: string;
  #want: "first" | "call" | "within" | "separator" | "close" = "first";
  #isArray = false;
  #closing = 0;
  #call = new CallReader();

  constructor(tag: string, nextIndex: number) {
    this.raw = `<${tag}>`;
    this.#close = `</${tag}>`;
    this.nextIndex = nextIndex;
  }

  /** @returns how many characters of `text` it read; the others are no part of it */
  push(text: string, give: (piece: AnswerPiece) => void): number {
    let at = 0;
    for (; at < text.length && this.state === "open"; at++) {
      if (!this.#step(text[at], give)) {
        this.state = "malformed";
        break;
      }
    }
    if (this.#want === "within") this.#giveArguments(give);
    this.raw += text.slice(0, at);
    return at;
  }

  #step(char: string, give: (piece: AnswerPiece) => void): boolean {
    if (this.#want === "within") return this.#stepWithin(char, give);
    if (isSpace(char) && this.#closing === 0) return true;
    if (this.#want === "first" && char === "[") {
      this.#isArray = true;
      this.#want = "call";
      return true;
    }
    if ((this.#want === "first" || this.#want === "call") && char === "{") {
      this.#want = "within";
      this.#call = new CallReader();
      this.isOut = false;
      return true;
    }
    if (this.#want === "separator" && char === ",") this.#want = "call";
    else if (this.#want === "separator" && char === "]") this.#want = "close";
    else if (this.#want === "close" && char === this.#close[this.#closing]) {
      if (++this.#closing === this.#close.length) this.state = "closed";
    } else return false;
    return true;
  }

  #stepWithin(char: string, give: (piece: AnswerPiece) => void): boolean {
    if (!this.#call.push(char)) return false;
    if (!this.#call.done) return true;
    const call = this.#call.whole();
    if (!call) return false;
    this.#giveArguments(give);
    if (!this.isOut) give({ toolCall: { index: this.nextIndex, name: call.name, argumentsDelta: "{}" } });
    this.calls.push(call);
    this.nextIndex++;
    this.isOut = false;
    this.#want = this.#isArray ? "separator" : "close";
    return true;
  }

  #giveArguments(give: (piece: AnswerPiece) => void): void {
    const { name } = this.#call;
    const argumentsDelta = name === undefined ? "" : this.#call.takeArguments();
    if (argumentsDelta === "") return;
    give({ toolCall: { index: this.nextIndex, ...(!this.isOut && { name }), argumentsDelta } });
    this.isOut = true;
  }
}

/** One `{ "name": …, "arguments": … }`, in whichever order. JSON.parse judges the whole; this only finds the parts. */
class CallReader {
  /** Once it is read. */
  name: string | undefined;
  done = false;
  #raw = "{";
  #brackets = "}";
  #string: "no" | "yes" | "escape" = "no";
  #key = "";
  /** Undefined while a key is read. */
  #value: string | undefined;
  #isArguments = false;
  #hasArguments = false;
  /** Of the arguments, what is not taken yet. */
  #pending = "";

  /** @returns false for what no JSON has there */
  push(char: string): boolean {
    this.#raw += char;
    const isOuter = this.#brackets.length === 1;
    if (this.#string !== "no") {
      if (char < " ") return false;
      this.#keep(char);
      this.#string = this.#string === "escape" ? "yes" : char === "\\" ? "escape" : char === '"' ? "no" : "yes";
      return true;
    }
    if (isOuter && (char === "," || char === "}")) {
      this.#endValue();
      this.done = char === "}";
      return true;
    }
    if (isOuter && char === ":" && this.#value === undefined) {
      this.#value = "";
      this.#isArguments = !this.#hasArguments && parsed(this.#key) === "arguments";
      return true;
    }
    if (char === '"') this.#string = "yes";
    else if (char === "{" || char === "[") this.#brackets += char === "{" ? "}" : "]";
    else if (char === "}" || char === "]") {
      if (!this.#brackets.endsWith(char)) return false;
      this.#brackets = this.#brackets.slice(0, -1);
    } else if (!/[\s,:0-9+\-.eEtrufalsn]/.test(char)) return false;
    this.#keep(char);
    return true;
  }

  /** Of the arguments, what was not taken before, without white space around the whole. */
  takeArguments(): string {
    const taken = this.#string === "no" ? this.#pending.trimEnd() : this.#pending;
    this.#pending = this.#pending.slice(taken.length);
    return taken;
  }

  whole(): ToolCall | undefined {
    try {
      const { name, arguments: args } = JSON.parse(this.#raw) as Record<string, unknown>;
      return typeof name === "string" ? { name, arguments: args ?? {} } : undefined;
    } catch {
      return undefined;
    }
  }

  #keep(char: string): void {
    if (this.#value === undefined) this.#key += char;
    else if (this.#isArguments) this.#pending += this.#pending === "" && !this.#hasArguments && isSpace(char) ? "" : char;
    else this.#value += char;
    if (this.#isArguments && !isSpace(char)) this.#hasArguments = true;
  }

  #endValue(): void {
    const value = parsed(this.#key) === "name" ? parsed(this.#value ?? "") : undefined;
    if (typeof value === "string") this.name ??= value;
    this.#key = "";
    this.#value = undefined;
    this.#isArguments = false;
  }
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

/** JSON's own white space. */
function isSpace(char: string): boolean {
  return char === " " || char === "\n" || char === "\r" || char === "\t";
}

function firstTag(text: string): { at: number; tag: string } | undefined {
  const found = callTags.map((tag) => ({ at: text.indexOf(`<${tag}>`), tag })).filter(({ at }) => at >= 0);
  return found.sort((a, b) => a.at - b.at)[0];
}

/** Length of the longest end of `text` that begins `tag`. */
function overlap(text: string, tag: string): number {
  for (let n = Math.min(text.length, tag.length - 1); n > 0; n--) if (text.endsWith(tag.slice(0, n))) return n;
  return 0;
}
