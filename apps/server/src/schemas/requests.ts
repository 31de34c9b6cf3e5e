// Bodies of all requests. Unknown fields are left out unseen, as clients send many that only OpenAI's own service has a use for.

import { z } from "zod";
import { isSlotName } from "../slots.ts";
import {
  allowedShape,
  byServer,
  callsNeedTools,
  choiceKinds,
  drawing,
  functionName,
  functionObject,
  maxTools,
  messages,
  oneTurn,
  optional,
  otherKind,
  otherThan,
  responseContent,
  sampling,
  streaming,
  templateFields,
  tokenIds,
  toolChoiceField,
  toolsField,
  turnFields,
} from "./fields.ts";
import { kinds } from "./kinds.ts";
import { list, record } from "./list.ts";

const named = { name: functionName, description: optional(z.string()), strict: optional(z.boolean()) };
const schema = optional(z.union([z.record(z.string(), z.unknown()), z.boolean()]));

export const responseFormat = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object"), schema }),
  z.object({ type: z.literal("json_schema"), json_schema: z.object({ ...named, schema }) }),
]);

/** For the document; the route checks it. */
const alternativesNeedLogprobs = {
  if: { required: ["top_logprobs"], properties: { top_logprobs: { type: "integer" } } },
  // biome-ignore lint/suspicious/noThenProperty: JSON Schema's word
  then: { required: ["logprobs"], properties: { logprobs: { const: true } } },
};

export const chatRequest = z
  .object({
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
    functions: optional(list(functionObject({})).min(1).max(128)),
    function_call: optional(z.union([z.enum(["none", "auto"]), z.object({ name: z.string().min(1) })])),
    modalities: optional(list(z.literal("text", "expected text: this model writes nothing else"))),
    ...templateFields,
    ...turnFields,
  })
  .meta({ allOf: [callsNeedTools, alternativesNeedLogprobs, oneTurn] })
  // The form of 2023 asks for tools, and is answered in its own way.
  .transform(({ functions, function_call: choice, ...rest }) => ({
    ...rest,
    isOldForm: functions !== undefined,
    ...(functions && {
      tools: functions.map((described) => ({ type: "function" as const, function: described })),
      tool_choice: typeof choice === "object" ? { type: "function" as const, function: choice } : choice,
    }),
  }));
export type ChatRequest = z.output<typeof chatRequest>;

export const completionRequest = z.object({
  ...streaming,
  ...sampling,
  prompt: z.union([z.string(), tokenIds.min(1), list(z.string()).min(1).max(128), list(tokenIds.min(1)).min(1).max(128)]),
  echo: optional(z.boolean()),
  best_of: optional(z.int().min(1).max(128)),
  suffix: optional(z.string().max(0, "expected none: this model writes forward only")),
  logprobs: optional(z.int().min(0).max(20)),
});
export type CompletionRequest = z.output<typeof completionRequest>;

export const embeddingRequest = z.object({
  model: optional(z.string()),
  input: z.union([z.string().min(1), tokenIds.min(1), list(z.string().min(1)).min(1).max(2048), list(tokenIds.min(1)).min(1).max(2048)]),
  encoding_format: optional(z.enum(["float", "base64"])),
  dimensions: optional(byServer.dimensions),
});

export const rerankRequest = z.object({
  model: optional(z.string()),
  query: z.string().regex(/\S/, "expected a text, found none"),
  documents: list(z.union([z.string(), z.object({ text: z.string() })]))
    .min(1)
    .max(1000),
  top_n: optional(z.int().min(1)),
  return_documents: optional(z.boolean()),
});

/** Thoughts of earlier answers: no conversation by themselves. */
const thought = { required: ["type"], properties: { type: { const: "reasoning" } } };

const responseItem = kinds([
  z.object({
    type: z.literal("message").nullish(),
    role: z.enum(["system", "developer", "user", "assistant"]),
    content: responseContent,
  }),
  z.object({ type: z.literal("function_call"), call_id: z.string(), name: z.string().min(1), arguments: z.string() }),
  z.object({ type: z.enum(["function_call_output", "custom_tool_call_output"]), call_id: z.string(), output: responseContent }),
  // Of a tool that takes plain text.
  z
    .object({ type: z.literal("custom_tool_call"), call_id: z.string(), name: z.string().min(1), input: z.string() })
    .transform(({ call_id, name, input }) => ({ type: "function_call" as const, call_id, name, arguments: JSON.stringify({ input }) })),
  z.object({ type: z.literal("reasoning"), content: optional(responseContent), summary: optional(responseContent) }),
  z.object({ type: z.literal("item_reference").nullish(), id: z.string().min(1) }),
  otherThan(
    ...["message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning", "item_reference"],
  ),
]);

const responseChoice = z.object({ type: z.literal("function", choiceKinds), name: z.string().min(1) });
const nothingKept = "expected none: this server keeps no";

export const responseRequest = z
  .object({
    model: optional(z.string()),
    input: z.union([
      z.string().min(1),
      list(responseItem)
        .max(65_536)
        .meta({ contains: { not: thought } }),
    ]),
    instructions: optional(z.string()),
    stream: optional(z.boolean()),
    max_output_tokens: sampling.max_tokens,
    ...drawing,
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
    tools: optional(list(kinds([functionObject({ type: z.literal("function") }), otherKind])).max(maxTools)),
    tool_choice: optional(
      z.union([
        z.enum(["none", "auto", "required"]),
        responseChoice,
        z.object({ type: z.literal("allowed_tools", choiceKinds), ...allowedShape(responseChoice) }),
      ]),
    ),
    parallel_tool_calls: optional(z.boolean()),
    metadata: optional(record(z.string(), z.string())),
    include: optional(list(z.string()).max(64)),
    store: optional(z.boolean()),
    previous_response_id: optional(z.string()),
    truncation: optional(z.enum(["auto", "disabled"])),
    background: optional(z.literal(false, "expected false: this server answers at once")),
    conversation: z.null(`${nothingKept} conversations; send the whole of it as input, or previous_response_id`).optional(),
    prompt: z.null(`${nothingKept} prompts; send the text as instructions`).optional(),
  })
  .meta({ allOf: [callsNeedTools] });
export type ResponseRequest = z.output<typeof responseRequest>;

const forModel = { model: streaming.model };

/** llama.cpp's form, which adds nothing unless asked to, and vLLM's, which does. */
export const tokenizeRequest = z.union([
  z
    .object({ ...forModel, content: z.string(), add_special: optional(z.boolean()), with_pieces: optional(z.boolean()) })
    .transform(({ add_special: addBos = false, with_pieces: withPieces, ...rest }) => ({ ...rest, addBos, withPieces })),
  z
    .object({ ...forModel, prompt: z.string(), add_special_tokens: optional(z.boolean()) })
    .transform(({ model, prompt, add_special_tokens: addBos = true }) => ({ model, content: prompt, addBos, withPieces: false })),
]);

export const detokenizeRequest = z.object({ ...forModel, tokens: tokenIds });

export const applyTemplateRequest = z
  .object({ ...forModel, messages, tools: toolsField, tool_choice: toolChoiceField, ...templateFields, ...turnFields })
  .meta({ allOf: [oneTurn] });

/** A name, never a path: it can't leave the folder. */
export const slotFile = z.object({
  ...forModel,
  filename: optional(
    z
      .string()
      .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/, "expected a name of letters, digits, dots, dashes and underscores")
      .refine(isSlotName, "expected a name that a file may have everywhere, and not one of a file that is being written"),
  ),
});
