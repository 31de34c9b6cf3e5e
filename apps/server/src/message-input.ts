// Anthropic's messages, whose contents are blocks of many kinds, as the messages that templates read.

import type { Message } from "jamba";
import { badRequest } from "./errors.ts";
import type { Notes } from "./notes.ts";
import type { Block, CountRequest } from "./schemas/messages.ts";
import { joinAnswers } from "./turns.ts";

type Kind<T extends string> = Extract<Block, { readonly type: T }>;
type ToolResult = Extract<Block, { tool_use_id: string }>;

/** Turns of one role that follow one another are one. Blocks of the user's are paragraphs, those of an answer go on from one another. */
export function messagesOf({ system, messages }: Pick<CountRequest, "system" | "messages">, notes: Notes): Message[] {
  const instructions =
    typeof system === "string" ? system : paragraphs((system ?? []).flatMap(({ text }, i) => instruction(text, i, notes)));
  const given = messages.flatMap(({ role, content }, i) => {
    const blocks: readonly Block[] = typeof content === "string" ? [{ type: "text", text: content }] : content;
    const where = `messages[${i}].content`;
    return role === "assistant" ? answerOf(blocks, where, notes) : turnsOf(role, blocks, where, notes);
  });
  const all = joinAnswers(joinTurns([...(instructions === "" ? [] : [{ role: "system" as const, content: instructions }]), ...given]));
  if (all.length === 0) throw badRequest("messages", "expected one with content, found none");
  if (all.at(-1)?.tool_calls)
    throw badRequest(`messages[${messages.length - 1}]`, "expected the results of its tools in a message that follows, found none");
  return all;
}

/** Claude Code begins its instructions with a header for its vendor's books, of which a part is new each time: no prompt would be known again. */
function instruction(text: string, i: number, { leftOut }: Notes): string[] {
  const [header] = /^x-anthropic-billing-header(?=:)/.exec(text) ?? [];
  if (header) leftOut.push(`system[${i}] (${header})`);
  return header ? [] : [text];
}

function answerOf(blocks: readonly Block[], where: string, notes: Notes): Message[] {
  const texts: string[] = [];
  const thoughts: string[] = [];
  const calls: NonNullable<Message["tool_calls"]>[number][] = [];
  for (const [i, block] of blocks.entries()) {
    if ("name" in block) calls.push({ id: block.id, type: "function", function: { name: block.name, arguments: block.input ?? {} } });
    else if ("thinking" in block) thoughts.push(block.thinking);
    else if ("tool_use_id" in block) throw badRequest(`${where}[${i}]`, "expected a result of a tool in a message of the user");
    else texts.push(...textOf(block, `${where}[${i}]`, notes));
  }
  if (blocks.length > 0 && texts.length + thoughts.length + calls.length === 0) return [];
  return [
    {
      role: "assistant",
      content: texts.join(""),
      ...(calls.length > 0 && { tool_calls: calls }),
      ...(thoughts.length > 0 && { reasoning_content: thoughts.join("\n") }),
    },
  ];
}

/** Results of tools are messages of their own. */
function turnsOf(role: "user" | "system", blocks: readonly Block[], where: string, notes: Notes): Message[] {
  return blocks.flatMap((block, i): Message[] => {
    const at = `${where}[${i}]`;
    if ("tool_use_id" in block) return [{ role: "tool", tool_call_id: block.tool_use_id, content: resultOf(block, at, notes) }];
    if ("name" in block || "thinking" in block)
      throw badRequest(at, `expected a block of type ${block.type} in a message of the assistant`);
    return textOf(block, at, notes).map((content) => ({ role, content }));
  });
}

function resultOf({ content = "", is_error: isError }: ToolResult, where: string, notes: Notes): string {
  const text =
    typeof content === "string" ? content : paragraphs(content.flatMap((block, i) => textOf(block, `${where}.content[${i}]`, notes)));
  // Templates have no place for it but the text.
  return isError && !/^\W*error/i.test(text) ? `Error: ${text}` : text;
}

/** None of a kind that only the service that it was made for can read: that is left out, with a note. */
function textOf(block: Exclude<Block, ToolResult | Kind<"tool_use"> | Kind<"thinking">>, where: string, { leftOut }: Notes): string[] {
  if ("text" in block) return [block.text];
  if ("source" in block && typeof block.source === "string") {
    const { title, source, content } = block as Extract<Block, { source: string }>;
    return [paragraphs([title, source, ...content.map(({ text }) => text)])];
  }
  if ("source" in block) {
    const { title = "", context = "", source } = block as Extract<Block, { source: { type: string } }>;
    const body = source.type === "text" ? source.data : source.content;
    const texts = typeof body === "string" ? [body] : body.flatMap((part) => ("text" in part ? part.text : []));
    return [paragraphs([title, context, ...texts])];
  }
  leftOut.push(`${where} (${block.type})`);
  return [];
}

function paragraphs(texts: readonly string[]): string {
  return texts.filter((text) => text !== "").join("\n\n");
}

function joinTurns(messages: readonly Message[]): Message[] {
  const turns: Message[][] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    if (last?.[0].role === message.role && (message.role === "user" || message.role === "system")) last.push(message);
    else turns.push([message]);
  }
  // Once for all of a turn: a text that grows by each of many would be copied as often.
  return turns.map(([first, ...others]) =>
    others.length === 0 ? first : { role: first.role, content: paragraphs([first, ...others].map(({ content }) => String(content))) },
  );
}
