// Messages and tools as users write them, and as templates want them.

import { TokenizerError } from "@jamba/core";
import { isObject, type Json } from "./tokenizer-json.ts";

export interface ToolCall {
  readonly id?: string;
  readonly name: string;
  /** An object, or JSON text that is used as it stands. */
  readonly arguments: unknown;
}

export interface Message {
  readonly role: "system" | "user" | "assistant" | "tool";
  readonly content?: string | readonly { readonly type: "text"; readonly text: string }[] | null;
  readonly name?: string;
  readonly toolCalls?: readonly ToolCall[];
  /** OpenAI's spelling of `toolCalls`. */
  readonly tool_calls?: readonly { readonly id?: string; readonly type?: "function"; readonly function: ToolCall }[];
  /** Documents that an answer rests on, by their place in `documents`. */
  readonly citations?: readonly { readonly documentId: number }[];
  /** Thoughts before the answer, for models that think. */
  readonly reasoning?: string;
}

/** A message as Hugging Face's templates read it. */
export interface TemplateMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
  readonly reasoning_content?: string;
  readonly citations?: readonly { readonly document_id: number }[];
  readonly tool_calls?: readonly { readonly id?: string; readonly type: "function"; readonly function: ToolCall }[];
}

const roles = ["system", "user", "assistant", "tool"];

/** @throws TokenizerError naming the message and the part that does not fit */
export function toTemplateMessages(messages: readonly Message[]): TemplateMessage[] {
  if (!Array.isArray(messages)) fail("messages", "an array", messages);
  return messages.map((message, i) => {
    const where = `messages[${i}]`;
    if (!isObject(message)) fail(where, "an object", message);
    const { role, name, reasoning, citations } = message;
    // What OpenAI's newer models call "developer" is a system message.
    const known = (role as string) === "developer" ? "system" : role;
    if (!roles.includes(known)) fail(`${where}.role`, `one of ${roles.join(", ")}`, role);
    for (const [key, value] of Object.entries({ name, reasoning }))
      if (value !== undefined && typeof value !== "string") fail(`${where}.${key}`, "a text", value);
    if (citations !== undefined && !(Array.isArray(citations) && citations.every((one) => Number.isSafeInteger(one?.documentId)))) {
      fail(`${where}.citations`, "an array of { documentId }", citations);
    }
    const calls = toolCalls(message, where);
    return {
      role: known,
      content: contentText(message.content, `${where}.content`),
      ...(name !== undefined && { name }),
      ...(reasoning !== undefined && { reasoning_content: reasoning }),
      ...(citations !== undefined && { citations: citations.map((one: { documentId: number }) => ({ document_id: one.documentId })) }),
      ...(calls.length > 0 && { tool_calls: calls }),
    };
  });
}

function contentText(content: Message["content"], where: string): string {
  if (content === undefined || content === null) return "";
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) fail(where, "a text or an array of text parts", content);
  return (content as { type: string; text: string }[])
    .map((part, i) => {
      if (!isObject(part) || part.type !== "text" || typeof part.text !== "string") fail(`${where}[${i}]`, '{ type: "text", text }', part);
      return part.text;
    })
    .join("");
}

function toolCalls({ toolCalls, tool_calls }: Message, where: string): NonNullable<TemplateMessage["tool_calls"]> {
  const given = toolCalls ?? tool_calls ?? [];
  if (!Array.isArray(given)) fail(`${where}.toolCalls`, "an array", given);
  return (given as Json[]).map((call, i) => {
    const made = isObject(call) && isObject(call.function) ? (call.function as Json) : call;
    if (!isObject(made) || typeof made.name !== "string") fail(`${where}.toolCalls[${i}]`, "{ name, arguments }", call);
    const { name, arguments: args = {} } = made;
    return {
      ...(typeof call.id === "string" && { id: call.id }),
      type: "function" as const,
      function: { name: name as string, arguments: args },
    };
  });
}

/** Tools in OpenAI's form; a bare function is wrapped. @throws TokenizerError */
export function toTemplateTools(tools: readonly unknown[] | undefined): { type: "function"; function: Json }[] | undefined {
  if (tools === undefined) return undefined;
  if (!Array.isArray(tools)) fail("tools", "an array", tools);
  return tools.map((tool, i) => {
    const made = isObject(tool) && isObject((tool as Json).function) ? (tool as { function: Json }).function : (tool as Json);
    const type = isObject(tool) ? (tool as Json).type : undefined;
    if (!isObject(made) || typeof made.name !== "string" || (type !== undefined && type !== "function")) {
      fail(`tools[${i}]`, '{ type: "function", function: { name, description, parameters } }', tool);
    }
    return { type: "function" as const, function: made };
  });
}

function fail(where: string, expected: string, found: unknown): never {
  throw new TokenizerError(`${where}: expected ${expected}, found ${(JSON.stringify(found) ?? "nothing").slice(0, 80)}`);
}
