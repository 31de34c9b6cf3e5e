// What users pass as a prompt: a text, token ids, or messages.

import { JambaError, TokenizerError } from "@jamba/core";
import type { Message, Tokenizer } from "@jamba/tokenizer";
import type { Form } from "../format/format-grammar.ts";
import type { GenerateOptions } from "./options.ts";

export type TextOrIds = string | readonly number[];
export type Prompt = TextOrIds | readonly Message[];

/** What a prompt may bring along for its template. */
export type PromptOptions = Pick<GenerateOptions, "tools" | "toolChoice" | "documents" | "knobs" | "variables">;

/** What the model reads, and in which form it answers. */
export interface ReadPrompt {
  readonly ids: readonly number[];
  readonly form?: AnswerForm;
}

/** How answers to messages are written. */
export interface AnswerForm {
  /** How tools are called; undefined where the vocabulary has neither form's tokens. */
  readonly name: Form | undefined;
  /** The answer begins within `<think>`. */
  readonly thoughts: boolean;
}

/** @throws JambaError OPTION when there is nothing to read, TokenizerError when a text has no tokenizer */
export function readPrompt(tokenizer: Tokenizer | undefined, prompt: Prompt, options: PromptOptions): ReadPrompt {
  if (isIds(prompt)) return { ids: expectSome([...prompt]) };
  if (typeof prompt === "string") return { ids: expectSome(expectTokenizer(tokenizer).encode(prompt, { addBos: tokenizer?.addBos })) };
  if (!Array.isArray(prompt)) throw new JambaError("OPTION", `prompt: expected a text, token ids or messages, found ${typeof prompt}`);
  const text = renderMessages(tokenizer, prompt, options);
  return { ids: expectSome(expectTokenizer(tokenizer).encode(text)), form: formOf(tokenizer, text) };
}

/** @throws as `readPrompt` */
export function promptIds(tokenizer: Tokenizer | undefined, prompt: Prompt): readonly number[] {
  return readPrompt(tokenizer, prompt, {}).ids;
}

/** What follows a prompt: nothing is put before it. @throws as `readPrompt`, but not for nothing */
export function continuationIds(tokenizer: Tokenizer | undefined, continuation: TextOrIds): readonly number[] {
  if (typeof continuation === "string") return expectTokenizer(tokenizer).encode(continuation);
  if (isIds(continuation)) return continuation;
  throw new JambaError("OPTION", `continuation: expected a text or token ids, found ${JSON.stringify(continuation)?.slice(0, 80)}`);
}

/** @param text what an answer follows */
export function formOf(tokenizer: Tokenizer | undefined, text: string): AnswerForm {
  const has = (token: string) => tokenizer?.idOf(token) !== undefined;
  return { name: has("<|im_start|>") ? "chatml" : has("<|bom|>") ? "jamba" : undefined, thoughts: /<think>\s*$/.test(text) };
}

/** The text that the model reads for `messages`, up to where its answer begins. */
export function renderMessages(tokenizer: Tokenizer | undefined, messages: readonly Message[], options: PromptOptions): string {
  const { tools, toolChoice, documents, knobs, variables } = options;
  const shown = toolChoice === "none" ? undefined : tools;
  return expectTokenizer(tokenizer).renderChat(messages, { tools: shown, documents, knobs, variables });
}

export function expectTokenizer(tokenizer: Tokenizer | undefined): Tokenizer {
  if (!tokenizer)
    throw new TokenizerError("prompt: expected a tokenizer.json beside the weights, found none; pass token ids instead of text");
  return tokenizer;
}

export function isIds(prompt: unknown): prompt is readonly number[] {
  return Array.isArray(prompt) && prompt.every((id) => typeof id === "number");
}

function expectSome(ids: number[]): number[] {
  if (ids.length === 0) throw new JambaError("OPTION", "prompt: expected at least one token, found none");
  return ids;
}
