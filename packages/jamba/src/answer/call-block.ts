// Reads what stands between the tags of tool calls, while it comes.

import type { ToolCall } from "@jamba/tokenizer";
import type { AnswerCall, AnswerPiece } from "./answer-parts.ts";

/** Between an opening tag and its closing one: a call, or an array of calls. */
export class CallBlock {
  state: "open" | "closed" | "malformed" = "open";
  /** With its tag, as far as it is read. */
  raw: string;
  /** Whole ones. */
  readonly calls: AnswerCall[] = [];
  /** Whether there were any, those that are forgotten among them. */
  hasCalls = false;
  nextIndex: number;
  /** Whether there is a piece of the call that is being read. */
  isOut = false;
  readonly #close: string;
  #want: "first" | "call" | "within" | "separator" | "close" = "first";
  #isArray = false;
  #closing = 0;
  #call = new CallReader();
  #id = "";
  #pieces: CallPiece[] = [];
  /** The arguments of the call that is being read, as far as they are among the pieces. */
  #arguments = "";

  constructor(tag: string, nextIndex: number) {
    this.raw = `<${tag}>`;
    this.#close = `</${tag}>`;
    this.nextIndex = nextIndex;
  }

  /** @returns how many characters of `text` it read; the others are no part of it */
  push(text: string): number {
    let at = 0;
    for (; at < text.length && this.state === "open"; at++) {
      if (!this.#step(text[at])) {
        this.state = "malformed";
        break;
      }
    }
    if (this.#want === "within") this.#giveArguments();
    this.raw += text.slice(0, at);
    return at;
  }

  /** The whole calls are no part of the answer; the one that is being read is its first, from its beginning on. */
  forget(): void {
    const begun = { index: 0, id: this.#id, name: this.#call.name, argumentsDelta: this.#arguments };
    this.#pieces = this.isOut ? [{ toolCall: begun }] : [];
    this.calls.length = 0;
    this.nextIndex = 0;
  }

  /** The pieces since the last time. */
  take(): CallPiece[] {
    return this.#pieces.splice(0);
  }

  /** What counts of a block that the answer's end cuts: its whole calls, and the begun one where `withBegun`. */
  end(withBegun: boolean): { readonly pieces: readonly CallPiece[]; readonly calls: readonly AnswerCall[] } {
    const begun = withBegun && this.isOut;
    const pieces = this.take().filter(({ toolCall }) => begun || toolCall.index < this.nextIndex);
    const json = this.#arguments;
    const cut = begun && { id: this.#id, name: this.#call.name!, arguments: json, json, incomplete: true as const };
    return { pieces, calls: cut ? [...this.calls, cut] : this.calls };
  }

  #step(char: string): boolean {
    if (this.#want === "within") return this.#stepWithin(char);
    if (isSpace(char) && this.#closing === 0) return true;
    if (this.#want === "first" && char === "[") {
      this.#isArray = true;
      this.#want = "call";
      return true;
    }
    if ((this.#want === "first" || this.#want === "call") && char === "{") {
      this.#want = "within";
      this.#call = new CallReader();
      this.#id = newCallId();
      this.#arguments = "";
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

  #stepWithin(char: string): boolean {
    if (!this.#call.push(char)) return false;
    if (!this.#call.done) return true;
    const call = this.#call.whole();
    if (!call) return false;
    this.#giveArguments();
    if (!this.isOut) this.#give(call.name, "{}");
    this.hasCalls = true;
    this.calls.push({ id: this.#id, ...call, json: this.#arguments });
    this.nextIndex++;
    this.isOut = false;
    this.#want = this.#isArray ? "separator" : "close";
    return true;
  }

  #giveArguments(): void {
    const { name } = this.#call;
    const argumentsDelta = name === undefined ? "" : this.#call.takeArguments();
    if (argumentsDelta !== "") this.#give(name!, argumentsDelta);
  }

  #give(name: string, argumentsDelta: string): void {
    this.#pieces.push({ toolCall: { index: this.nextIndex, ...(!this.isOut && { id: this.#id, name }), argumentsDelta } });
    this.#arguments += argumentsDelta;
    this.isOut = true;
  }
}

type CallPiece = Extract<AnswerPiece, { toolCall: unknown }>;

function newCallId(): string {
  return `call_${Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
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
