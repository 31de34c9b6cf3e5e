// An answer that goes on from words which it is given: those that the last message has.

import { JambaError, TokenizerError } from "@jamba/core";
import { type Message, type TemplateMessage, toTemplateMessages } from "./messages.ts";

export interface TurnOptions {
  /**
   * End where a new answer begins; true if not given, or false where the last message is continued. With neither, the text ends behind
   * the last message, and the model says whose turn it is.
   */
  readonly addGenerationPrompt?: boolean;
  /**
   * End within the last message, which is the assistant's, so that the model goes on from there: from its content, or without any from
   * its thoughts. `prefix: true` on that message says the same. False if not given.
   */
  readonly continueFinalMessage?: boolean;
}

type Field = "content" | "reasoning_content";

/**
 * Whether the last message is continued.
 * @throws JambaError OPTION for options that contradict each other, TokenizerError for a message without a content
 */
export function continuesFinal(messages: readonly Message[], { addGenerationPrompt, continueFinalMessage }: TurnOptions): boolean {
  const hasPrefix = messages.at(-1)?.prefix === true;
  const asked = hasPrefix ? `messages[${messages.length - 1}].prefix` : "continueFinalMessage";
  if (hasPrefix && continueFinalMessage === false) throw contradiction(asked, "continueFinalMessage: false");
  if (!hasPrefix && !continueFinalMessage) return false;
  if (addGenerationPrompt) throw contradiction(asked, "addGenerationPrompt: true");
  const { role, content, reasoning, reasoning_content } = messages.at(-1) ?? {};
  if (role === "assistant" && (content ?? reasoning ?? reasoning_content ?? undefined) === undefined)
    throw new TokenizerError(`messages[${messages.length - 1}].content: expected a text to continue, found none`);
  return true;
}

function contradiction(one: string, other: string): JambaError {
  return new JambaError(
    "OPTION",
    `${one}: expected no ${other} beside it, found both; an answer goes on from a message or begins a new one`,
  );
}

/**
 * Behind the words that go on, and with a space to see whether the template trims them. No text has it: Unicode keeps these characters
 * free of meaning for good.
 */
const mark = "\uFDD0\uFDD1\uFDD0 ";

/**
 * The chat up to the end of its last message's words, as `continue_final_message` of transformers has it: a template that trims them
 * does so here too. Where transformers gives up, because the template leaves a part of the words out (thoughts, as a rule), the
 * words stand as they are given where the template puts a text: they are what the answer must go on from.
 * @throws TokenizerError where there is nothing to go on from
 */
export function renderOpen(messages: readonly TemplateMessage[], render: (messages: readonly TemplateMessage[]) => string): string {
  const { field, words } = finalWords(messages);
  const before = messages.slice(0, -1);
  const withText = (text: string) => render([...before, { ...messages.at(-1)!, [field]: text }]);
  const kept = cutAtMark(withText(words + mark));
  if (kept !== undefined && (kept.endsWith(words) || squeezed(kept).endsWith(squeezed(words)))) return kept;
  const head = cutAtMark(withText(mark));
  if (head === undefined)
    throw new TokenizerError(
      `messages[${before.length}].${field}: expected a chat template that shows the last message, found one that leaves it out; begin a new answer instead`,
    );
  return head + words;
}

/**
 * The end of `text`, a chat as `renderChat` gives it, that the answer goes on from, thoughts with their tag; undefined where the answer
 * has a turn of its own.
 * @throws as `renderChat`
 */
export function continuedWords(messages: readonly Message[], options: TurnOptions, text: string): string | undefined {
  if (!continuesFinal(messages, options)) return undefined;
  const { field, words } = finalWords(toTemplateMessages(messages.slice(-1)), messages.length - 1);
  // Templates trim words, and write thoughts between line breaks of their own.
  const found = [words, words.trimEnd(), words.trimStart(), words.trim()].find((some) => text.endsWith(some));
  const isThought = field === "reasoning_content" || found === undefined;
  const at = isThought ? text.lastIndexOf("<think>") : -1;
  return at < 0 ? (found ?? "") : text.slice(at);
}

/** @param at place of the last of `messages` in the conversation */
function finalWords(messages: readonly TemplateMessage[], at = messages.length - 1): { field: Field; words: string } {
  const final = messages.at(-1);
  const where = `messages[${at}]`;
  if (final?.role !== "assistant")
    throw new TokenizerError(
      `${final ? `${where}.role` : "messages"}: expected a last message of the assistant to continue, found ${final ? `one of the ${final.role}` : "none"}`,
    );
  const { content, reasoning_content: thoughts, tool_calls: calls = [] } = final;
  if (calls.length > 0)
    throw new TokenizerError(`${where}.toolCalls: expected none in a message to continue, found ${calls.length}; calls end a message`);
  if (content !== "" || thoughts === undefined) return { field: "content", words: content };
  return { field: "reasoning_content", words: thoughts };
}

function cutAtMark(rendered: string): string | undefined {
  const at = rendered.lastIndexOf(mark.trimEnd());
  if (at < 0) return undefined;
  const text = rendered.slice(0, at);
  return rendered.startsWith(mark, at) ? text : text.trimEnd();
}

function squeezed(text: string): string {
  return text.replace(/\s+/g, "");
}
