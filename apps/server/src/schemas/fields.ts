// Fields that several requests share, with the ranges that OpenAI documents and llama.cpp's names for what OpenAI lacks.

import { z } from "zod";
import { kinds } from "./kinds.ts";
import { list, record } from "./list.ts";

/** Clients write null for what they leave out. */
export function optional<T extends z.ZodType>(schema: T) {
  return schema.nullish().transform((value) => (value ?? undefined) as z.output<T> | undefined);
}

const largestId = 2 ** 31 - 1;

/** What a server or its model says more of: see the OpenAPI document. */
export const byServer = {
  grammar: z.string().min(1),
  choices: z.int().min(1).max(1024),
  slot: z.int().min(-1),
  tokenId: z.int().min(0).max(largestId),
  dimensions: z.int().min(1),
};

/** Hundreds of thousands are let in. */
export const tokenIds = list(byServer.tokenId, (id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) <= largestId);

/** OpenAI takes four; editors send more. Empty ones are ignored, as llama.cpp does. */
const stopText = z.string().max(1024);
export const stopTexts = list(stopText).max(256);

const share = z.number().min(0).max(1);
/** llama.cpp's -1: as much as there is. */
const limit = z.int().min(-1);

/** How tokens are drawn, and where the answer ends. What is not given is as the model's generation_config.json says, and the temperature else 1. */
export const sampling = {
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(share),
  top_k: optional(z.int().min(-1)),
  min_p: optional(share),
  typical_p: optional(share),
  seed: optional(z.int()),
  n: optional(byServer.choices),
  stop: optional(z.union([stopText, stopTexts])),
  frequency_penalty: optional(z.number().min(-2).max(2)),
  presence_penalty: optional(z.number().min(-2).max(2)),
  repeat_penalty: optional(z.number().min(0.01).max(100)),
  logit_bias: optional(record(z.string().regex(/^\d{1,9}$/), z.number().min(-100).max(100))),
  dry_multiplier: optional(z.number().min(0).max(1000)),
  dry_base: optional(z.number().min(1).max(100)),
  dry_allowed_length: optional(
    z
      .int()
      .min(1)
      .max(2 ** 20),
  ),
  dry_penalty_last_n: optional(limit),
  dry_sequence_breakers: optional(list(z.string().min(1)).max(64)),
  xtc_probability: optional(share),
  xtc_threshold: optional(share),
  ignore_eos: optional(z.boolean()),
  grammar: optional(byServer.grammar),
  json_schema: optional(z.record(z.string(), z.unknown())),
  max_tokens: optional(limit),
  id_slot: optional(byServer.slot),
};

const { n: _n, max_tokens: _max, id_slot: _slot, grammar: _grammar, json_schema: _schema, ...rest } = sampling;
/** Of `sampling`, what other APIs have no words of their own for. */
export const drawing = rest;

export type Sampling = z.output<ReturnType<typeof z.object<typeof sampling>>>;

export const streaming = {
  model: optional(z.string()),
  stream: optional(z.boolean()),
  stream_options: optional(z.object({ include_usage: optional(z.boolean()) })),
  timings_per_token: optional(z.boolean()),
};

/** Some clients offer the tools of several servers at once. */
export const maxTools = 512;

export const functionName = z.string().regex(/^[a-zA-Z0-9_.-]{1,128}$/, "expected 1 to 128 letters, digits, underscores, dots or dashes");

const functionShape = {
  name: functionName,
  description: optional(z.string()),
  parameters: optional(z.record(z.string(), z.unknown())),
  strict: optional(z.boolean()),
};

/** Fields that mean the description or the parameters: a function without them would have its arguments made up. */
const misspelt = /^(p[ae]?r|arg|input_?schema$|schema$|des[ck]|dis[ck]r)/i;

/** A function as a request describes it. What else it says is left out, with a note, unless it means a field of another name. */
export function functionObject<T extends z.ZodRawShape>(more: T) {
  return z.looseObject({ ...more, ...functionShape }).superRefine((described, { addIssue }) => {
    const known = [...Object.keys(more), ...Object.keys(functionShape)];
    for (const key of Object.keys(described).filter((key) => !known.includes(key) && misspelt.test(key))) {
      const meant = /^d/i.test(key) ? "description" : "parameters";
      addIssue({ code: "custom", path: [key], message: `expected a known field, found this one; did you mean ${meant}?` });
    }
  });
}

/** What only the service that it was made for can read or run. */
export function otherThan(...types: string[]) {
  const message = `expected a value of this type, or another type than ${types.join(", ")}`;
  return z.object({ type: z.string().regex(new RegExp(`^(?!(${types.join("|")})$)`), { message, abort: true }) });
}
export const otherKind = otherThan("function");

const functionTool = z.object({ type: z.literal("function"), function: functionObject({}) });
export const toolsField = optional(list(kinds([functionTool, otherKind])).max(maxTools));

/** A choice among some of the tools; `choice` is how the route names a function. */
export function allowedShape<T extends z.ZodType>(choice: T) {
  return {
    mode: z.enum(["auto", "required"]),
    tools: list(kinds([choice, otherKind]))
      .min(1)
      .max(maxTools),
  };
}

export const choiceKinds = 'expected "function" or "allowed_tools": this server runs no tools of other kinds';

const asksForCalls = { anyOf: [{ const: "required" }, { type: "object" }] };

/** For documents: who asks for a call has tools. The engine checks it. */
export const callsNeedTools = {
  if: { required: ["tool_choice"], properties: { tool_choice: asksForCalls } },
  // biome-ignore lint/suspicious/noThenProperty: JSON Schema's word
  then: {
    required: ["tools"],
    properties: { tools: { type: "array", contains: { required: ["type"], properties: { type: { const: "function" } } } } },
  },
};

const functionChoice = z.object({ type: z.literal("function", choiceKinds), function: z.object({ name: z.string().min(1) }) });
export const toolChoiceField = optional(
  z.union([
    z.enum(["none", "auto", "required"]),
    functionChoice,
    z.object({ type: z.literal("allowed_tools", choiceKinds), allowed_tools: z.object(allowedShape(functionChoice)) }),
  ]),
);

const jambaFields = {
  documents: optional(list(z.looseObject({ text: z.string(), title: optional(z.string()) })).max(1024)),
  knobs: optional(z.record(z.string(), z.unknown())),
};

/** vLLM's names: whether the answer goes on from the last message. */
export const turnFields = { continue_final_message: optional(z.boolean()), add_generation_prompt: optional(z.boolean()) };

/** What a template reads beside messages and tools. Clients of llama.cpp and vLLM wrap it, with whatever else a model's own template reads. */
export const templateFields = { ...jambaFields, chat_template_kwargs: optional(z.looseObject({ ...jambaFields, ...turnFields })) };
export type Template = z.output<ReturnType<typeof z.object<typeof templateFields>>>;

export type Turn = z.output<ReturnType<typeof z.object<typeof turnFields>>>;

/** For documents: an answer goes on from a message or begins a new one. The engine checks it. */
export const oneTurn = {
  not: {
    required: Object.keys(turnFields),
    properties: { continue_final_message: { const: true }, add_generation_prompt: { const: true } },
  },
};

const textOnly = "expected text: this model reads nothing else";
const part = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("text"), text: z.string() }),
    z.object({ type: z.literal("refusal"), refusal: z.string() }).transform(({ refusal }) => ({ type: "text" as const, text: refusal })),
  ],
  textOnly,
);
export const content = z.union([z.string(), list(part)]);

/** As `content`, in the newer API's words. */
const responsePart = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.enum(["input_text", "output_text", "text", "summary_text", "reasoning_text"]), text: z.string() }),
    z
      .object({ type: z.literal("refusal"), refusal: z.string() })
      .transform(({ refusal }) => ({ type: "output_text" as const, text: refusal })),
  ],
  textOnly,
);
export const responseContent = z.union([z.string(), list(responsePart)]);

const called = z.object({ name: z.string().min(1), arguments: optional(z.union([z.string(), z.record(z.string(), z.unknown())])) });
const call = kinds([
  z.object({ id: optional(z.string()), type: z.literal("function").nullish(), function: called }),
  // Of a tool that takes plain text.
  z
    .object({ id: optional(z.string()), type: z.literal("custom"), custom: z.object({ name: z.string().min(1), input: z.string() }) })
    .transform(({ id, custom: { name, input } }) => ({ id, function: { name, arguments: { input } } })),
]);

export const message = z
  .object({
    role: z.enum(["system", "developer", "user", "assistant", "tool", "function"]),
    content: optional(content),
    name: optional(z.string()),
    tool_calls: optional(list(call)),
    tool_call_id: optional(z.string()),
    function_call: optional(called),
    reasoning_content: optional(z.string()),
    prefix: optional(z.boolean()),
  })
  .check(({ value, issues }) => {
    if (value.content === undefined && value.role !== "assistant")
      issues.push({ code: "custom", path: ["content"], message: "expected a text or text parts, found none", input: value });
  })
  .meta({
    if: { properties: { role: { not: { const: "assistant" } } } },
    // biome-ignore lint/suspicious/noThenProperty: JSON Schema's word
    then: { required: ["content"], properties: { content: { not: { type: "null" } }, prefix: { not: { const: true } } } },
  })
  // The form of 2023, before there were tools.
  .transform(({ role, function_call: function_, tool_calls = function_ && [{ id: undefined, function: function_ }], ...rest }) => ({
    ...rest,
    role: role === "function" ? ("tool" as const) : role,
    tool_calls,
  }));

export const messages = list(message).min(1).max(65_536);
