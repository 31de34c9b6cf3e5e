// Between the fields of requests and answers and the engine's options and results. Knows no route.

import type { Format, GenerateOptions, JambaModel, Part, Result } from "jamba";
import type { z } from "zod";
import { badRequest } from "./errors.ts";
import type { Sampling, Template, Turn } from "./schemas/fields.ts";
import type { responseFormat } from "./schemas/requests.ts";
import type { AppSettings } from "./service.ts";

/** What a field leaves out stays undefined: the model's own default holds. */
export function samplingOptions(body: Partial<Sampling>, options: AppSettings): GenerateOptions {
  expectChoices("n", body.n ?? 1, options);
  const dry = body.dry_multiplier
    ? {
        multiplier: body.dry_multiplier,
        base: body.dry_base,
        allowedLength: body.dry_allowed_length,
        lastN: orAll(body.dry_penalty_last_n),
        breakers: body.dry_sequence_breakers,
      }
    : undefined;
  if (body.grammar !== undefined && !options.allowGrammars)
    throw badRequest("grammar", "expected none: this server was not started with grammars allowed; use response_format", "unsupported");
  const format: Format | undefined =
    body.grammar !== undefined
      ? { type: "grammar", grammar: body.grammar }
      : body.json_schema && { type: "json", schema: body.json_schema, strict: false };
  return {
    temperature: body.temperature,
    topP: body.top_p,
    topK: body.top_k === undefined ? undefined : Math.max(0, body.top_k),
    minP: body.min_p,
    typicalP: body.typical_p,
    // llama.cpp's -1 asks for a random one.
    seed: body.seed === -1 ? undefined : body.seed,
    n: body.n,
    stop: body.stop === undefined ? undefined : [body.stop].flat().filter((text) => text !== ""),
    frequencyPenalty: body.frequency_penalty,
    presencePenalty: body.presence_penalty,
    repetitionPenalty: body.repeat_penalty,
    logitBias: body.logit_bias,
    dry,
    xtc: body.xtc_probability ? { probability: body.xtc_probability, threshold: body.xtc_threshold } : undefined,
    ignoreEos: body.ignore_eos,
    maxTokens: tokenLimit(body.max_tokens),
    format,
  };
}

/** @throws ApiError 400 for more answers than one request may ask for */
export function expectChoices(param: string, found: number, { maxChoices }: AppSettings): void {
  if (found > maxChoices) throw badRequest(param, `expected at most ${maxChoices} answers in all, found ${found}`);
}

/** Of two places to say it, the request's own counts. */
export function templateOf(body: Template): Pick<GenerateOptions, "documents" | "knobs" | "variables"> {
  const wrapped: Partial<NonNullable<Template["chat_template_kwargs"]>> = body.chat_template_kwargs ?? {};
  const { documents: wrappedDocuments, knobs: wrappedKnobs, continue_final_message, add_generation_prompt, ...variables } = wrapped;
  const { documents = wrappedDocuments, knobs = wrappedKnobs } = body;
  return { documents: documents?.length ? documents : undefined, knobs, variables };
}

/** As `templateOf`. */
export function turnOf(body: Turn & Template): Pick<GenerateOptions, "continueFinalMessage" | "addGenerationPrompt"> {
  const { continue_final_message: continues, add_generation_prompt: begins } = body.chat_template_kwargs ?? {};
  return { continueFinalMessage: body.continue_final_message ?? continues, addGenerationPrompt: body.add_generation_prompt ?? begins };
}

/** -1 asks for as much as there is. */
export function tokenLimit(tokens: number | undefined): number | undefined {
  return tokens === -1 ? Number.MAX_SAFE_INTEGER : tokens;
}

function orAll(count: number | undefined): number | undefined {
  return count === -1 ? undefined : count;
}

export function formatOf(asked: z.output<typeof responseFormat> | undefined): Format | undefined {
  if (!asked || asked.type === "text") return undefined;
  const { schema, strict = false } = asked.type === "json_schema" ? asked.json_schema : { schema: asked.schema };
  return { type: "json", schema, strict };
}

const finishReasons = { stop: "stop", length: "length", "tool-calls": "tool_calls", cancelled: "length" } as const;

/** An answer that ran out of time counts as one that ran out of tokens. */
export function finishReasonOf({ finishReason }: Result): (typeof finishReasons)[Result["finishReason"]] {
  return finishReasons[finishReason];
}

export function usageOf(model: JambaModel, results: readonly Result[]) {
  const sum = (key: keyof Result["usage"]) => results.reduce((total, { usage }) => total + usage[key], 0);
  const [promptTokens, completionTokens] = [sum("promptTokens"), sum("completionTokens")];
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: sum("cachedTokens") },
    completion_tokens_details: {
      reasoning_tokens: results.flatMap((result) => result.choices ?? [result]).reduce((sum, one) => sum + thoughtTokens(model, one), 0),
    },
  };
}

const thoughtsEnd = "</think>";

/** Tokens of an answer's thoughts, with those that end them. */
function thoughtTokens({ tokenizer }: JambaModel, { reasoning, ids }: Result): number {
  if (!reasoning) return 0;
  let tail = "";
  for (const [i, id] of ids.entries()) {
    const piece = tokenizer.pieceOf(id);
    tail += typeof piece === "string" ? piece : String.fromCharCode(piece);
    if (tail.includes(thoughtsEnd)) return i + 1;
    tail = tail.slice(1 - thoughtsEnd.length);
  }
  return ids.length;
}

/** llama.cpp's names, and how long a format took and how many tokens it left no choice about; times in milliseconds. */
export function timingsOf({ usage, timings }: Result) {
  const { promptTokens, cachedTokens, completionTokens } = usage;
  const predictedMs = timings.totalMs - timings.promptMs;
  return {
    cache_n: cachedTokens,
    prompt_n: promptTokens - cachedTokens,
    prompt_ms: timings.promptMs,
    predicted_n: completionTokens,
    predicted_ms: predictedMs,
    predicted_per_second: predictedMs > 0 ? (completionTokens * 1000) / predictedMs : 0,
    forced_n: timings.forcedTokens,
    format_ms: timings.formatMs,
  };
}

/** One token as OpenAI shows it: its text, which may be a part of a character, and its bytes. */
export function tokenText({ tokenizer }: JambaModel, id: number): { token: string; bytes: number[] } {
  const piece = tokenizer.pieceOf(id);
  if (typeof piece === "string") return { token: piece, bytes: [...new TextEncoder().encode(piece)] };
  return { token: new TextDecoder().decode(Uint8Array.of(piece)), bytes: [piece] };
}

export type Logprobs = NonNullable<Result["logprobs"]>;

/** @param withEnd with the token that ended the answer, which is no part of its text */
export function logprobsOfText({ tokenizer }: JambaModel, { logprobs = [], ids, finishReason }: Result, withEnd = false): Logprobs {
  if (withEnd) return logprobs;
  const hasEnd = finishReason !== "length" && ids.length > 0 && tokenizer.isSpecial(ids[ids.length - 1]);
  return hasEnd ? logprobs.slice(0, -1) : logprobs;
}

/** What `logprobsOfText` gives, piece by piece: of each part of a stream those of its tokens. */
export class StreamedLogprobs {
  readonly #model: JambaModel;
  #waiting: Logprobs[number][] = [];
  /** A last token without text may be what ends the answer. */
  #mayEnd = false;
  #given = 0;

  constructor(model: JambaModel) {
    this.#model = model;
  }

  push({ logprobs = [], text }: Part): void {
    this.#waiting.push(...logprobs);
    const last = this.#waiting.at(-1);
    this.#mayEnd = last !== undefined && this.#model.tokenizer.isSpecial(last.id) && !text.endsWith(last.text);
  }

  /** Those that came since the last time. */
  take(): Logprobs {
    const taken = this.#waiting.splice(0, this.#waiting.length - (this.#mayEnd ? 1 : 0));
    this.#given += taken.length;
    return taken;
  }

  /** Those of tokens without text at the end, as a stop text has some. */
  rest(result: Result, withEnd = false): Logprobs {
    return logprobsOfText(this.#model, result, withEnd).slice(this.#given);
  }
}

/** OpenAI has no -Infinity, and JSON neither. */
export function finite(logprob: number): number {
  return Math.max(logprob, -9999);
}
