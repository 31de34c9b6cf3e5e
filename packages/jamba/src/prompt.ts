// What users pass as a prompt: a text, token ids, or messages.

import { JambaError, TokenizerError } from "@jamba/core";
import type { Message, Tokenizer } from "@jamba/tokenizer";
import type { GenerateOptions } from "./options.ts";

export type Prompt = string | readonly number[] | readonly Message[];

/** What a prompt may bring along for its template. */
export type PromptOptions = Pick<GenerateOptions, "tools" | "toolChoice" | "documents" | "knobs">;

/** @throws JambaError OPTION when there is nothing to read, TokenizerError when a text has no tokenizer */
export function promptIds(tokenizer: Tokenizer | undefined, prompt: Prompt, options: PromptOptions): number[] {
  if (isIds(prompt)) return expectSome([...prompt]);
  if (typeof prompt === "string") return expectSome(expectTokenizer(tokenizer).encode(prompt, { addBos: tokenizer?.addBos }));
  if (!Array.isArray(prompt)) throw new JambaError("OPTION", `prompt: expected a text, token ids or messages, found ${typeof prompt}`);
  return expectSome(expectTokenizer(tokenizer).encode(renderMessages(tokenizer, prompt, options)));
}

/** The text that the model reads for `messages`, up to where its answer begins. */
export function renderMessages(tokenizer: Tokenizer | undefined, messages: readonly Message[], options: PromptOptions): string {
  const { tools, toolChoice, documents, knobs } = options;
  return expectTokenizer(tokenizer).renderChat(messages, { tools: toolChoice === "none" ? undefined : tools, documents, knobs });
}

export function expectTokenizer(tokenizer: Tokenizer | undefined): Tokenizer {
  if (!tokenizer)
    throw new TokenizerError("prompt: expected a tokenizer.json beside the weights, found none; pass token ids instead of text");
  return tokenizer;
}

function isIds(prompt: Prompt): prompt is readonly number[] {
  return Array.isArray(prompt) && prompt.every((id) => typeof id === "number");
}

function expectSome(ids: number[]): number[] {
  if (ids.length === 0) throw new JambaError("OPTION", "prompt: expected at least one token, found none");
  return ids;
}
