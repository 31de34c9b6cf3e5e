// Bodies of all requests. Unknown fields are left out unseen, as clients send many that only OpenAI's own service has a use for.

import { z } from "zod";
import { documentsField, functionShape, messages, optional, sampling, streaming, toolChoiceField, toolsField } from "./fields.ts";

const named = { name: z.string().min(1).max(64), description: optional(z.string()), strict: optional(z.boolean()) };
const schema = optional(z.union([z.record(z.string(), z.unknown()), z.boolean()]));

export const responseFormat = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object"), schema }),
  z.object({ type: z.literal("json_schema"), json_schema: z.object({ ...named, schema }) }),
]);

export const chatRequest = z.object({
  ...streaming,
  ...sampling,
  messages,
  max_completion_tokens: sampling.max_tokens,
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(20)),
  response_format: optional(responseFormat),
  tools: toolsField,
  tool_choice: toolChoiceField,
  parallel_tool_calls: optional(z.boolean()),
  documents: documentsField,
  knobs: optional(z.record(z.string(), z.unknown())),
});
export type ChatRequest = z.output<typeof chatRequest>;

const ids = z.array(
  z
    .int()
    .min(0)
    .max(2 ** 31 - 1),
);

export const completionRequest = z.object({
  ...streaming,
  ...sampling,
  prompt: z.union([z.string(), z.array(z.string()).min(1).max(128), ids.min(1), z.array(ids.min(1)).min(1).max(128)]),
  echo: optional(z.boolean()),
  best_of: optional(z.int().min(1).max(128)),
  suffix: optional(z.string()),
  logprobs: optional(z.int().min(0).max(20)),
});
export type CompletionRequest = z.output<typeof completionRequest>;

export const embeddingRequest = z.object({
  model: optional(z.string()),
  input: z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(2048)]),
  encoding_format: optional(z.enum(["float", "base64"])),
  dimensions: optional(z.int().min(1)),
});

const part = z.object({ type: z.enum(["input_text", "output_text", "text"]), text: z.string() });
const parts = z.union([z.string(), z.array(part)]);

export const responseItem = z.union([
  z.object({
    type: z.literal("message").nullish(),
    role: z.enum(["system", "developer", "user", "assistant"]),
    content: parts,
  }),
  z.object({ type: z.literal("function_call"), call_id: z.string(), name: z.string().min(1), arguments: z.string() }),
  z.object({ type: z.literal("function_call_output"), call_id: z.string(), output: parts }),
  z.object({
    type: z.literal("reasoning"),
    content: optional(z.array(z.object({ type: z.literal("reasoning_text"), text: z.string() }))),
  }),
]);

export const responseRequest = z.object({
  model: optional(z.string()),
  input: z.union([z.string().min(1), z.array(responseItem).min(1).max(65_536)]),
  instructions: optional(z.string()),
  stream: optional(z.boolean()),
  max_output_tokens: sampling.max_tokens,
  temperature: sampling.temperature,
  top_p: sampling.top_p,
  text: optional(
    z.object({
      format: optional(
        z.discriminatedUnion("type", [
          z.object({ type: z.literal("text") }),
          z.object({ type: z.literal("json_object") }),
          z.object({ type: z.literal("json_schema"), ...named, schema }),
        ]),
      ),
    }),
  ),
  tools: optional(z.array(z.object({ type: z.literal("function"), ...functionShape })).max(128)),
  tool_choice: optional(
    z.union([z.enum(["none", "auto", "required"]), z.object({ type: z.literal("function"), name: z.string().min(1) })]),
  ),
  parallel_tool_calls: optional(z.boolean()),
  metadata: optional(z.record(z.string(), z.string())),
  store: optional(z.literal(false, "expected false: this server keeps no responses")),
  background: optional(z.literal(false, "expected false: this server answers at once")),
  previous_response_id: z.null("expected none: this server keeps no responses; send the whole conversation as input").optional(),
  conversation: z.null("expected none: this server keeps no conversations; send the whole of it as input").optional(),
});
export type ResponseRequest = z.output<typeof responseRequest>;

export const tokenizeRequest = z.object({
  content: z.string(),
  add_special: optional(z.boolean()),
  with_pieces: optional(z.boolean()),
});

export const detokenizeRequest = z.object({ tokens: ids });

export const applyTemplateRequest = z.object({
  messages,
  tools: toolsField,
  documents: documentsField,
  knobs: optional(z.record(z.string(), z.unknown())),
});

/** A name, never a path: it can't leave the folder. */
export const slotFile = z.object({
  filename: z.string().regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,126}$/, "expected a name of letters, digits, dots, dashes and underscores"),
});
