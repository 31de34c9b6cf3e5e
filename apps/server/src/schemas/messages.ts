// Bodies of /v1/messages and what it answers, in Anthropic's shape. Unknown fields are left out unseen.

import { z } from "zod";
import { drawing, functionName, maxTools, optional, otherThan, stopTexts } from "./fields.ts";
import { kinds } from "./kinds.ts";
import { list } from "./list.ts";

const text = z.object({ type: z.literal("text"), text: z.string() });
const texts = z.union([z.string(), list(text)]);

/** A kind of block that is refused, because what it shows would be missed. */
function unreadable(type: string, message: string) {
  return z
    .object({ type: z.literal(type) })
    .check(({ value, issues }) => void issues.push({ code: "custom", path: [], message, input: value, continue: false }))
    .meta({ not: {} });
}
const image = unreadable("image", "expected text: this model reads nothing else, found an image");

const document = z.object({
  type: z.literal("document"),
  source: z.discriminatedUnion(
    "type",
    [
      z.object({ type: z.literal("text"), data: z.string() }),
      z.object({ type: z.literal("content"), content: z.union([z.string(), list(kinds([text, image]))]) }),
    ],
    'expected "text" or "content": this model reads no files',
  ),
  title: optional(z.string()),
  context: optional(z.string()),
});

const searchResult = z.object({ type: z.literal("search_result"), source: z.string(), title: z.string(), content: list(text) });

const shown = [text, document, searchResult, image] as const;
const toolResult = z.object({
  type: z.literal("tool_result"),
  tool_use_id: z.string(),
  content: optional(z.union([z.string(), list(kinds([...shown, otherThan("text", "document", "search_result", "image")]))])),
  is_error: optional(z.boolean()),
});
const toolUse = z.object({
  type: z.literal("tool_use"),
  id: z.string(),
  name: z.string().min(1),
  input: optional(z.record(z.string(), z.unknown())),
});
const thinking = z.object({ type: z.literal("thinking"), thinking: z.string() });

const block = kinds([
  ...shown,
  toolResult,
  toolUse,
  thinking,
  otherThan("text", "document", "search_result", "image", "tool_result", "tool_use", "thinking"),
]);
export type Block = z.output<typeof block>;

const customTool = z.object({
  type: z.literal("custom").nullish(),
  name: functionName,
  description: optional(z.string()),
  input_schema: z.record(z.string(), z.unknown()),
  strict: optional(z.boolean()),
});

const parallel = { disable_parallel_tool_use: optional(z.boolean()) };
const format = optional(z.object({ type: z.literal("json_schema"), schema: z.record(z.string(), z.unknown()) }));

const promptFields = {
  model: optional(z.string()),
  messages: list(z.object({ role: z.enum(["user", "assistant", "system"]), content: z.union([z.string(), list(block)]) }))
    .min(1)
    .max(100_000),
  system: optional(texts),
  tools: optional(list(kinds([customTool, otherThan("custom")])).max(maxTools)),
  tool_choice: optional(
    z.discriminatedUnion("type", [
      z.object({ type: z.enum(["auto", "any"]), ...parallel }),
      z.object({ type: z.literal("tool"), name: z.string().min(1), ...parallel }),
      z.object({ type: z.literal("none") }),
    ]),
  ),
  thinking: optional(z.object({ type: z.string(), budget_tokens: optional(z.int().min(1)), display: optional(z.string()) })),
  output_config: optional(z.object({ format })),
  output_format: format,
  mcp_servers: optional(list(z.unknown())),
  context_management: optional(z.record(z.string(), z.unknown())),
  container: optional(z.unknown()),
};

/** For the document: who asks for a call has tools. */
const callsNeedTools = {
  if: { required: ["tool_choice"], properties: { tool_choice: { type: "object", properties: { type: { enum: ["any", "tool"] } } } } },
  // biome-ignore lint/suspicious/noThenProperty: JSON Schema's word
  then: { required: ["tools"], properties: { tools: { type: "array", contains: { required: ["input_schema"] } } } },
};

export const countRequest = z.object(promptFields).meta({ allOf: [callsNeedTools] });
export type CountRequest = z.output<typeof countRequest>;

export const messagesRequest = z
  .object({
    ...promptFields,
    ...drawing,
    /** 0 reads the prompt, so that a later request finds it read. */
    max_tokens: z.int().min(0),
    stop_sequences: optional(stopTexts),
    stream: optional(z.boolean()),
  })
  .meta({ allOf: [callsNeedTools] });
export type MessagesRequest = z.output<typeof messagesRequest>;

const count = z.int().min(0);

export const countAnswer = z.object({ input_tokens: count });

export const messageAnswer = z.object({
  id: z.string(),
  type: z.literal("message"),
  role: z.literal("assistant"),
  model: z.string(),
  content: z.array(
    z.union([
      text,
      z.object({ type: z.literal("thinking"), thinking: z.string(), signature: z.string() }),
      z.object({ type: z.literal("tool_use"), id: z.string(), name: z.string(), input: z.record(z.string(), z.unknown()) }),
    ]),
  ),
  stop_reason: z.enum(["end_turn", "max_tokens", "stop_sequence", "tool_use"]),
  stop_sequence: z.string().nullable(),
  usage: z.object({
    input_tokens: count,
    cache_creation_input_tokens: count,
    cache_read_input_tokens: count,
    output_tokens: count,
    output_tokens_details: z.object({ thinking_tokens: count }),
  }),
});
