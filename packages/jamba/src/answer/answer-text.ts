// Makes the parts of an answer out of its tokens, as soon as they can't change any more.

import { StreamDecoder, type Tokenizer } from "@jamba/tokenizer";
import { isForced } from "../format/format.ts";
import { AnswerParts, type AnswerPartsOptions } from "./answer-parts.ts";
import type { DrawnLogprob, Part, Result } from "./generate.ts";
import type { CheckedOptions } from "./options.ts";
import type { ReadPrompt } from "./prompt.ts";

/** The tokens of an answer so far; whoever draws them adds to these. */
export interface Drawn {
  readonly ids: readonly number[];
  /** Of each of them, or of none. */
  readonly logprobs: readonly DrawnLogprob[];
}

export class AnswerText {
  readonly #drawn: Drawn;
  readonly #usage: Part["usage"];
  readonly #decoder: StreamDecoder | undefined;
  /** Whether the text is without thoughts. */
  readonly #apart: boolean;
  readonly #text: AnswerParts;
  readonly #said: AnswerParts;
  /** As the model wrote it, up to a stop text. */
  #written = "";
  /** Of what was drawn, the end that may belong to a stop text. */
  #unsettled = "";
  #sent = 0;

  constructor(
    tokenizer: Tokenizer | undefined,
    { ids: prompt, form }: ReadPrompt,
    options: CheckedOptions,
    { drawn, cachedTokens }: { readonly drawn: Drawn; readonly cachedTokens: number },
  ) {
    const { stop = [], reasoning: apart = form !== undefined } = options;
    const { name, thoughts, prefix } = form ?? {};
    this.#drawn = drawn;
    this.#usage = { promptTokens: prompt.length, cachedTokens };
    this.#decoder = tokenizer && new StreamDecoder(tokenizer);
    this.#apart = apart;
    this.#text = new AnswerParts({ thoughts, prefix });
    this.#said = new AnswerParts({ thoughts, prefix, calls: callsOf(options), leadingSpace: name === "jamba", stop: [stop].flat() });
  }

  get stopString(): string | undefined {
    return this.#said.stopString;
  }

  /** The last token that was drawn is part of the answer. */
  push(): Part | undefined {
    const piece = this.#decoder?.push(this.#drawn.ids.at(-1)!) ?? "";
    return piece === "" ? undefined : this.#part(piece);
  }

  /** @param isCut something other than the model ended the answer */
  end(isCut: boolean): Part | undefined {
    return this.#part(this.#decoder?.end() ?? "", { isCut });
  }

  /** All of it, once it has ended. */
  whole(): Pick<Result, "text" | "content" | "stopString" | "toolCalls" | "reasoning"> & { readonly written: string } {
    const { text: content, stopString, toolCalls, reasoning } = this.#said;
    const written = this.#written;
    return { text: this.#apart ? this.#text.text : written, content, stopString, toolCalls, reasoning, written };
  }

  #part(piece: string, end?: { readonly isCut: boolean }): Part | undefined {
    const { ids, logprobs } = this.#drawn;
    this.#unsettled += piece;
    const pieces = [...this.#said.push(piece), ...(end ? this.#said.end(end) : [])];
    const settled = this.#unsettled.slice(0, this.#said.settled - this.#written.length);
    this.#unsettled = this.#unsettled.slice(settled.length);
    this.#written += settled;
    const shown = [...this.#text.push(settled), ...(end ? this.#text.end() : [])].map((one) => ("text" in one ? one.text : "")).join("");
    const found: Part = {
      text: this.#apart ? shown : settled,
      pieces,
      ids: ids.slice(this.#sent),
      ...(this.#sent === 0 && { usage: this.#usage }),
      ...(logprobs.length > 0 && { logprobs: logprobs.slice(this.#sent) }),
    };
    if (found.text === "" && pieces.length === 0 && !(end && this.#sent < ids.length)) return undefined;
    this.#sent = ids.length;
    return found;
  }
}

/** With tools the answer is bound to whole calls of them, see `constraintOf`; a model may write calls unasked. */
export function callsOf({ tools, toolChoice = "auto" }: CheckedOptions): AnswerPartsOptions["calls"] {
  if (toolChoice === "none") return "none";
  if (!tools?.length) return "found";
  return isForced(toolChoice) ? "forced" : "offered";
}
