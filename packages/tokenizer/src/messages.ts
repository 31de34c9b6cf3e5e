// Messages, tools and documents as users write them, and as templates want them.

import { TokenizerError } from "@jamba/core";
import { insideJson, readArguments } from "./call-arguments.ts";
import { isObject, type Json, pythonJson, show } from "./json.ts";

export interface ToolCall {
  readonly id?: string;
  readonly name: string;
  /** An object, or its JSON as a text. */
  readonly arguments: unknown;
}

/** OpenAI's spellings of the same things are read too. */
export interface Message {
  readonly role: "system" | "user" | "assistant" | "tool";
  readonly content?: string | readonly { readonly type: "text"; readonly text: string }[] | null;
  readonly name?: string;
  readonly toolCalls?: readonly ToolCall[];
  readonly tool_calls?: readonly { readonly id?: string; readonly type?: "function"; readonly function: ToolCall }[];
  /** A call as OpenAI's API of 2023 had it. */
  readonly function_call?: ToolCall | null;
  /** The call that a tool message answers. */
  readonly toolCallId?: string;
  readonly tool_call_id?: string;
  /** Thoughts before the answer, for models that think. */
  readonly reasoning?: string;
  readonly reasoning_content?: string;
  /** Indices of the documents that an answer rests on, for Jamba 1.5 to 1.7. */
  readonly citations?: readonly { readonly documentId: number }[];
  /** true on a last message of the assistant: the answer goes on from it. An earlier message is whole, whatever it says here. */
  readonly prefix?: boolean;
}

/** A message as Hugging Face's templates read it. */
export interface TemplateMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly { readonly id?: string; readonly type: "function"; readonly function: ToolCall }[];
  readonly tool_call_id?: string;
  readonly citations?: readonly { readonly document_id: number }[];
}

export type TemplateTool = Json & { readonly function: Json };

/** What the built-in forms are made from. */
export interface FormInput {
  readonly messages: readonly TemplateMessage[];
  readonly tools: readonly TemplateTool[];
  readonly documents: readonly Json[];
  readonly knobs: Json | undefined;
  readonly addGenerationPrompt: boolean;
  readonly generationPreamble: string;
  readonly bosToken: string;
}

const roles = ["system", "user", "assistant", "tool"];
/** What OpenAI's newer models and its oldest call them. */
const otherRoles: Readonly<Record<string, string>> = { developer: "system", function: "tool" };

/** @throws TokenizerError naming the message and the part that does not fit */
export function toTemplateMessages(messages: readonly Message[]): TemplateMessage[] {
  return expectArray(messages, "messages").map((message, i) => {
    const where = `messages[${i}]`;
    if (!isObject(message)) fail(where, "an object", message);
    const role = otherRoles[message.role as string] ?? message.role;
    if (typeof role !== "string" || !roles.includes(role)) fail(`${where}.role`, `one of ${roles.join(", ")}`, message.role);
    const texts = {
      name: message.name,
      reasoning_content: message.reasoning ?? message.reasoning_content,
      tool_call_id: message.toolCallId ?? message.tool_call_id,
    };
    expectPrefix(message.prefix, role, where);
    const called = message.toolCalls ?? message.tool_calls ?? (message.function_call ? [message.function_call] : []);
    const calls = toolCalls(called, `${where}.toolCalls`);
    const citations = citedDocuments(message.citations, `${where}.citations`);
    return {
      role,
      content: role === "tool" ? resultText(message.content, `${where}.content`) : contentText(message.content ?? "", `${where}.content`),
      ...definedTexts(texts, where),
      ...(calls.length > 0 && { tool_calls: calls }),
      ...(citations !== undefined && { citations }),
    };
  });
}

function expectPrefix(prefix: unknown, role: string, where: string): void {
  if (prefix === undefined || prefix === null || prefix === false) return;
  if (prefix !== true) fail(`${where}.prefix`, "true or false", prefix);
  if (role !== "assistant") fail(`${where}.prefix`, "it on a message of the assistant", role);
}

function definedTexts(texts: Json, where: string): Record<string, string> {
  const defined: Record<string, string> = {};
  for (const [key, value] of Object.entries(texts)) {
    if (value === undefined || value === null) continue;
    if (typeof value !== "string") fail(`${where}.${key}`, "a text", value);
    defined[key] = value;
  }
  return defined;
}

function contentText(content: unknown, where: string): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) fail(where, "a text or an array of text parts", content);
  const texts = content.map((part: unknown, i) => {
    if (!isObject(part) || part.type !== "text" || typeof part.text !== "string") fail(`${where}[${i}]`, '{ type: "text", text }', part);
    return part.text;
  });
  return texts.join("");
}

/** What a tool gives may be any value: as JSON, unless it is a text or parts of one. */
function resultText(content: unknown, where: string): string {
  const isPart = (part: unknown) => isObject(part) && typeof part.type === "string";
  if (content === undefined || content === null) return "";
  if (typeof content === "string" || (Array.isArray(content) && content.length > 0 && content.every(isPart)))
    return contentText(content, where);
  try {
    return pythonJson(content);
  } catch {
    // A circle, a depth that no stack holds, a function.
    return fail(where, "a text, or a value that JSON has", content);
  }
}

function toolCalls(given: unknown, where: string): NonNullable<TemplateMessage["tool_calls"]> {
  return expectArray(given, where).map((call, i) => {
    const inner = isObject(call) && isObject(call.function) ? call.function : call;
    if (!isObject(call) || !isObject(inner) || typeof inner.name !== "string") fail(`${where}[${i}]`, "{ name, arguments }", call);
    const args = inner.arguments ?? {};
    if (typeof args !== "string" && !isObject(args)) fail(`${where}[${i}].arguments`, "an object or JSON text", args);
    const called = { name: insideJson(inner.name), arguments: readArguments(args) };
    return { ...(typeof call.id === "string" && { id: call.id }), type: "function", function: called };
  });
}

function citedDocuments(given: unknown, where: string): TemplateMessage["citations"] {
  if (given === undefined || given === null) return undefined;
  return expectArray(given, where).map((citation, i) => {
    const id = isObject(citation) ? (citation.documentId ?? citation.document_id) : undefined;
    if (typeof id !== "number") fail(`${where}[${i}]`, "{ documentId } with the index of a document", citation);
    return { document_id: id };
  });
}

/** Tools in OpenAI's form; a bare function is wrapped. @throws TokenizerError */
export function toTemplateTools(tools: readonly unknown[] | null | undefined): TemplateTool[] | undefined {
  if (tools === undefined || tools === null) return undefined;
  return expectArray(tools, "tools").map((tool, i) => {
    const whole = isObject(tool) && !("function" in tool) ? { type: "function", function: tool } : tool;
    if (!isObject(whole) || !isObject(whole.function) || typeof whole.function.name !== "string" || whole.type !== "function")
      fail(`tools[${i}]`, '{ type: "function", function: { name, description, parameters } }', tool);
    return whole as TemplateTool;
  });
}

/** @throws TokenizerError */
export function toTemplateDocuments(documents: readonly unknown[] | null | undefined): Json[] | undefined {
  if (documents === undefined || documents === null) return undefined;
  return expectArray(documents, "documents").map((document, i) => {
    if (!isObject(document) || typeof document.text !== "string") fail(`documents[${i}]`, "{ title, text }", document);
    return document;
  });
}

function expectArray(given: unknown, where: string): unknown[] {
  if (!Array.isArray(given)) fail(where, "an array", given);
  return given;
}

function fail(where: string, expected: string, found: unknown): never {
  throw new TokenizerError(`${where}: expected ${expected}, found ${show(found)}; messages have the shape that OpenAI's chat API has`);
}
