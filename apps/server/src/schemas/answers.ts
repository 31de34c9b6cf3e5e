// What routes answer, for the OpenAPI document. Handlers do not know it; tests hold them to it.

import { z } from "zod";

const count = z.int().min(0);
const ms = z.number().min(0);
const finishReason = z.enum(["stop", "length", "tool_calls", "function_call"]);

const usage = z.object({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.object({ cached_tokens: count }),
  completion_tokens_details: z.object({ reasoning_tokens: count }),
});

/** An extension: llama.cpp's timings with what a format took, and why less than half of the prompt was there already. */
const extras = {
  timings: z.object({
    cache_n: count,
    prompt_n: count,
    prompt_ms: ms,
    predicted_n: count,
    predicted_ms: ms,
    predicted_per_second: ms,
    forced_n: count,
    format_ms: ms,
  }),
  cache_miss_reason: z.string().optional(),
};

const head = { id: z.string(), created: count, model: z.string(), system_fingerprint: z.string() };

const drawn = z.object({ token: z.string(), bytes: z.array(z.int().min(0).max(255)), logprob: z.number().max(0) });
const toolCall = z.object({
  id: z.string(),
  type: z.literal("function"),
  function: z.object({ name: z.string(), arguments: z.string() }),
});

export const chatAnswer = z.object({
  ...head,
  object: z.literal("chat.completion"),
  choices: z.array(
    z.object({
      index: count,
      message: z.object({
        role: z.literal("assistant"),
        content: z.string().nullable(),
        refusal: z.null(),
        reasoning_content: z.string().optional(),
        tool_calls: z.array(toolCall).min(1).optional(),
        function_call: toolCall.shape.function.optional(),
      }),
      logprobs: z.object({ content: z.array(drawn.extend({ top_logprobs: z.array(drawn) })), refusal: z.null() }).nullable(),
      finish_reason: finishReason,
    }),
  ),
  usage,
  ...extras,
});

export const completionAnswer = z.object({
  ...head,
  object: z.literal("text_completion"),
  choices: z.array(
    z.object({
      text: z.string(),
      index: count,
      logprobs: z
        .object({
          tokens: z.array(z.string()),
          token_logprobs: z.array(z.number().max(0).nullable()),
          top_logprobs: z.array(z.record(z.string(), z.number().max(0)).nullable()),
          text_offset: z.array(count),
        })
        .nullable(),
      finish_reason: finishReason,
    }),
  ),
  usage,
  ...extras,
});

const status = z.enum(["in_progress", "completed", "incomplete"]);
const textPart = z.object({ type: z.enum(["output_text", "reasoning_text"]), text: z.string() });

export const responseAnswer = z.object({
  id: z.string(),
  object: z.literal("response"),
  created_at: count,
  status,
  error: z.null(),
  incomplete_details: z.object({ reason: z.literal("max_output_tokens") }).nullable(),
  model: z.string(),
  truncation: z.enum(["auto", "disabled"]),
  /** An extension: how many of the oldest messages the model did not see. */
  dropped_messages: count.optional(),
  output: z.array(
    z.union([
      z.object({ id: z.string(), type: z.enum(["message", "reasoning"]), status, content: z.array(textPart) }),
      z.object({
        id: z.string(),
        type: z.literal("function_call"),
        status,
        call_id: z.string(),
        name: z.string(),
        arguments: z.string(),
      }),
    ]),
  ),
  usage: z.object({
    input_tokens: count,
    input_tokens_details: z.object({ cached_tokens: count }),
    output_tokens: count,
    output_tokens_details: z.object({ reasoning_tokens: count }),
    total_tokens: count,
  }),
});

export const deletedResponseAnswer = z.object({ id: z.string(), object: z.literal("response"), deleted: z.literal(true) });

export const embeddingsAnswer = z.object({
  object: z.literal("list"),
  data: z.array(z.object({ object: z.literal("embedding"), index: count, embedding: z.union([z.array(z.number()), z.string()]) })),
  model: z.string(),
  usage: z.object({ prompt_tokens: count, total_tokens: count }),
});

export const rerankAnswer = z.object({
  id: z.string(),
  object: z.literal("list"),
  model: z.string(),
  results: z.array(
    z.object({
      index: count,
      relevance_score: z.number().gt(0).lt(1),
      document: z.object({ text: z.string() }).optional(),
    }),
  ),
  usage: z.object({ prompt_tokens: count, total_tokens: count }),
});

export const modelAnswer = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: count,
  owned_by: z.string(),
  /** These three for Anthropic's clients. */
  type: z.literal("model"),
  display_name: z.string(),
  created_at: z.iso.datetime(),
  loaded: z.boolean(),
  loading: z.literal(true).optional(),
  /** Unix seconds. */
  last_used: count.optional(),
  memory_bytes: count.optional(),
  meta: z.object({ n_ctx: count, n_ctx_train: count, n_vocab: count, n_embd: count, size: count }).optional(),
});
export const modelsAnswer = z.object({ object: z.literal("list"), data: z.array(modelAnswer).min(1), has_more: z.literal(false) });

export const tokenizeAnswer = z.object({
  tokens: z.union([z.array(count), z.array(z.object({ id: count, piece: z.union([z.string(), z.array(count)]) }))]),
  count,
  max_model_len: count,
});
export const detokenizeAnswer = z.object({ content: z.string(), prompt: z.string() });
export const tokenizerInfoAnswer = z.object({
  bos_token: z.string().nullable(),
  eos_token: z.string().nullable(),
  add_bos_token: z.boolean(),
  chat_template: z.string().nullable(),
  model_max_length: count,
});
export const templateAnswer = z.object({ prompt: z.string() });

export const slotsAnswer = z.array(z.object({ id: count, n_ctx: count, n_tokens: count }));
const slot = { id_slot: count, filename: z.string() };
export const slotAnswer = z.union([
  z.object({ ...slot, n_saved: count, n_written: count, timings: z.object({ save_ms: ms }) }),
  z.object({ ...slot, n_restored: count, n_read: count, timings: z.object({ restore_ms: ms }) }),
  z.object({ id_slot: count, n_erased: count }),
]);

export const healthAnswer = z.object({ status: z.literal("ok") });
export const propsAnswer = z.object({
  default_generation_settings: z.object({ n_ctx: count, params: z.record(z.string(), z.unknown()) }),
  total_slots: count,
  model_path: z.string(),
  model_alias: z.string(),
  chat_template: z.string().nullable(),
  bos_token: z.string().nullable(),
  eos_token: z.string().nullable(),
  modalities: z.object({ vision: z.literal(false), audio: z.literal(false) }),
  device: z.object({
    kind: z.string(),
    name: z.string(),
    passedOver: z.array(z.string()).optional(),
    notTried: z.array(z.string()).optional(),
  }),
  dtypes: z.array(z.string()),
});
