// What users pass as a prompt: a text, token ids, or messages.

import { JambaError, TokenizerError } from "@jamba/core";
import { continuedWords, type Message, type Tokenizer } from "@jamba/tokenizer";
import type { Form } from "../format/format.ts";
import type { CheckedOptions, GenerateOptions } from "./options.ts";
import { encode, type Reading, render } from "./reading.ts";
import { isSystem, readFitting } from "./truncate.ts";

export type TextOrIds = string | readonly number[];
export type Prompt = TextOrIds | readonly Message[];

/** What a prompt may bring along for its template. */
export type PromptOptions<Arguments = Record<string, never>> = Pick<
  GenerateOptions<unknown, Arguments>,
  (typeof forTemplate)[number] | "toolChoice" | "truncation"
>;
type CheckedPromptOptions = Pick<CheckedOptions, keyof PromptOptions | keyof TurnOptions | "maxTokens" | "tenant">;

const forTemplate = ["tools", "documents", "knobs", "variables"] as const;

/** Where a prompt of messages ends. */
export type TurnOptions = Pick<GenerateOptions, "addGenerationPrompt" | "continueFinalMessage">;

/** What the model reads, and in which form it answers. */
export interface ReadPrompt {
  readonly ids: readonly number[];
  readonly form?: AnswerForm;
  /** Tokens of the system messages that the prompt begins with, where these may be shared. */
  readonly systemTokens?: number;
  /** With `truncation: "auto"`, the indices of messages that are not in `ids`. */
  readonly dropped?: readonly number[];
}

/** How answers to messages are written. */
export interface AnswerForm {
  /** How tools are called; undefined where the vocabulary has neither form's tokens. */
  readonly name: Form | undefined;
  /** The answer begins within `<think>`. */
  readonly thoughts: boolean;
  /** What of the answer the prompt has already, behind that tag. */
  readonly prefix: string;
}

/** Messages as the model reads them. */
interface RenderedMessages {
  readonly text: string;
  readonly form: AnswerForm;
  /** The words of the last message, where the answer goes on from them. */
  readonly prefix?: string;
}

/**
 * @param contextLength tokens that the prompt and its answer may take
 * @throws JambaError OPTION when there is nothing to read, or nothing that shows an option; TokenizerError when a text has no tokenizer
 */
export function* readPrompt(
  { tokenizer, contextLength }: { readonly tokenizer: Tokenizer | undefined; readonly contextLength: number },
  prompt: Prompt,
  options: CheckedPromptOptions,
): Reading<ReadPrompt> {
  if (isIds(prompt) || typeof prompt === "string") {
    expectNothingForMessages(options, typeof prompt === "string" ? "a text" : "token ids");
    const ids =
      typeof prompt === "string" ? yield* encode(expectTokenizer(tokenizer), prompt, { addBos: tokenizer?.addBos }) : prompt.slice();
    return { ids: expectSome(ids) };
  }
  if (!Array.isArray(prompt)) throw new JambaError("OPTION", `prompt: expected a text, token ids or messages, found ${typeof prompt}`);
  return yield* readFitting(prompt, options, contextLength, function* (kept) {
    const { text, form } = yield* renderMessages(tokenizer, kept, options);
    const ids = expectSome(yield* encode(expectTokenizer(tokenizer), text));
    return { ids, form, systemTokens: yield* systemTokensOf(tokenizer, kept, options, ids) };
  });
}

/**
 * How many of `ids` are what the template makes of the system messages at the beginning, whatever follows; 0 where nothing of them may be
 * shared, and where the template does not write them apart from what follows.
 */
export function* systemTokensOf(
  tokenizer: Tokenizer | undefined,
  messages: readonly Message[],
  options: CheckedPromptOptions,
  ids: readonly number[],
): Reading<number> {
  const at = messages.findIndex(({ role }) => !isSystem(role));
  const system = at < 0 ? messages : messages.slice(0, at);
  if (options.tenant?.shares !== "system" || system.length === 0) return 0;
  let text: string;
  try {
    ({ text } = yield* renderMessages(tokenizer, system, { ...options, addGenerationPrompt: false, continueFinalMessage: false }));
  } catch {
    return 0; // a template may want a user's message
  }
  const alone = yield* encode(expectTokenizer(tokenizer), text);
  return alone.length < ids.length && alone.every((id, i) => id === ids[i]) ? alone.length : 0;
}

/** @throws as `readPrompt` */
export function* promptIds(tokenizer: Tokenizer | undefined, prompt: Prompt): Reading<readonly number[]> {
  return (yield* readPrompt({ tokenizer, contextLength: 0 }, prompt, {})).ids;
}

/** What follows a prompt: nothing is put before it. @throws as `readPrompt`, but not for nothing */
export function* continuationIds(tokenizer: Tokenizer | undefined, continuation: TextOrIds): Reading<readonly number[]> {
  if (typeof continuation === "string") return yield* encode(expectTokenizer(tokenizer), continuation);
  if (isIds(continuation)) return continuation;
  throw new JambaError("OPTION", `continuation: expected a text or token ids, found ${JSON.stringify(continuation)?.slice(0, 80)}`);
}

/** What the model reads for `messages`, up to where its answer begins or goes on, and how it answers. @throws as `readPrompt` */
export function* renderMessages(
  tokenizer: Tokenizer | undefined,
  messages: readonly Message[],
  options: CheckedPromptOptions,
): Reading<RenderedMessages> {
  const { tools, toolChoice, documents, knobs, variables, addGenerationPrompt, continueFinalMessage } = options;
  const shown = toolChoice === "none" ? undefined : tools;
  const given = { tools: shown, documents, knobs, variables, addGenerationPrompt, continueFinalMessage };
  const text = yield* render(expectTokenizer(tokenizer), messages, given);
  const prefix = continuedWords(messages, given, text);
  return { text, prefix, form: formOf(tokenizer, text, prefix) };
}

/** How a model of this vocabulary calls tools. */
export function callForm(tokenizer: Tokenizer | undefined): Form | undefined {
  const has = (token: string) => tokenizer?.idOf(token) !== undefined;
  return has("<|im_start|>") ? "chatml" : has("<|bom|>") ? "jamba" : undefined;
}

function formOf(tokenizer: Tokenizer | undefined, text: string, words = ""): AnswerForm {
  const name = callForm(tokenizer);
  const isOpen = /<think>\s*$/.test(text.slice(0, text.length - words.length));
  const [tag = ""] = (!isOpen && /^\s*<think>/.exec(words)) || [];
  return { name, thoughts: isOpen || tag !== "", prefix: words.slice(tag.length) };
}

export function expectTokenizer(tokenizer: Tokenizer | undefined): Tokenizer {
  if (!tokenizer)
    throw new TokenizerError("prompt: expected a tokenizer.json beside the weights, found none; pass token ids instead of text");
  return tokenizer;
}

/** What only a template, or a turn of a conversation, gives a meaning. */
function expectNothingForMessages(options: CheckedPromptOptions, found: string): void {
  const isSome = (name: keyof CheckedPromptOptions) => {
    const value = options[name];
    if (name === "tools" && options.toolChoice === "none") return false;
    return typeof value === "object" ? Object.keys(value).length > 0 : value !== undefined;
  };
  const name = ([...forTemplate, "continueFinalMessage", "addGenerationPrompt"] as const).find(isSome);
  if (name === undefined) return;
  throw new JambaError(
    "OPTION",
    `${name}: expected messages, which it says something about, found ${found} as prompt; write [{ role: "user", content }]`,
  );
}

export function isIds(prompt: unknown): prompt is readonly number[] {
  if (!Array.isArray(prompt)) return false;
  // Of millions, `every` and iterators take a tenth of a second.
  for (let i = 0; i < prompt.length; i++) if (typeof prompt[i] !== "number") return false;
  return true;
}

function expectSome(ids: number[]): number[] {
  if (ids.length === 0) throw new JambaError("OPTION", "prompt: expected at least one token, found none");
  return ids;
}
