// One answer: prefill in chunks, then token by token. Ends at a stop id, a stop text, a limit or an abort.

import type { ToolCall } from "@jamba/tokenizer";
import { parseToolCalls, StreamDecoder, type Tokenizer } from "@jamba/tokenizer";
import type { GenerateOptions } from "./options.ts";
import type { Runner, Sequence } from "./runner.ts";
import { logprobOf, sample, type TokenLogprob, topLogprobs, uniform } from "./sampler.ts";
import { StopTexts } from "./stop-texts.ts";

/** A piece of the answer, as soon as it can't change any more. */
export interface Part {
  readonly text: string;
  /** The tokens drawn since the last part. */
  readonly ids: readonly number[];
}

export interface Result {
  /** Of the new tokens, without the one that ended the answer; special tokens within it are spelled out. */
  readonly text: string;
  /** The new tokens, with the one that ended the answer. */
  readonly ids: readonly number[];
  readonly finishReason: "stop" | "length" | "tool-calls" | "cancelled";
  /** The text of `stop` that ended the answer. */
  readonly stopString?: string;
  readonly toolCalls: readonly ToolCall[];
  readonly logprobs?: readonly (TokenLogprob & { readonly top: readonly TokenLogprob[] })[];
  /** `cachedTokens`: those of the prompt that a kept state already held. */
  readonly usage: { readonly promptTokens: number; readonly cachedTokens: number; readonly completionTokens: number };
  /** Why a session had to read its conversation again. */
  readonly cacheMissReason?: string;
  readonly timings: Timings;
}

export interface Timings {
  readonly promptMs: number;
  readonly firstTokenMs: number;
  readonly totalMs: number;
  /** Of the tokens after the first. */
  readonly tokensPerSecond: number;
}

export interface GenerateContext {
  readonly runner: Runner;
  readonly tokenizer: Tokenizer | undefined;
  readonly stopIds: ReadonlySet<number>;
  /** From generation_config.json, for options that are not given. */
  readonly defaults: Partial<GenerateOptions>;
}

export interface Request {
  /** Advanced in place; released if a step fails. */
  readonly sequence: Sequence;
  /** Tokens that `sequence` has not seen. At least one. */
  readonly ids: readonly number[];
  readonly cacheMissReason?: string;
}

/** New tokens when `maxTokens` is not given. */
const defaultMaxTokens = 1024;

/**
 * Yields text as it comes and returns the whole.
 * An abort before the first token throws the signal's reason; a later one ends the answer with "cancelled".
 * The last token drawn is not read into `sequence`.
 */
export async function* generate(context: GenerateContext, request: Request, given: GenerateOptions): AsyncGenerator<Part, Result> {
  const { runner, tokenizer } = context;
  const { sequence } = request;
  const options = { ...context.defaults, ...given };
  const { maxTokens = defaultMaxTokens, stop = [], signal } = options;
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 52);
  const cachedTokens = sequence.seen;
  const prompt = [...(sequence.ids ?? []), ...request.ids];
  const clock = { start: performance.now(), prompt: 0, first: 0 };
  const elapsed = () => performance.now() - clock.start;

  const answer: number[] = [];
  const logprobs: (TokenLogprob & { top: TokenLogprob[] })[] = [];
  const decoder = tokenizer && new StreamDecoder(tokenizer);
  const isBreaker = breakersOf(tokenizer, options.dry?.breakers);
  const texts = new StopTexts([stop].flat());
  let text = "";
  let sent = 0;
  let finishReason: Result["finishReason"] | undefined = maxTokens === 0 ? "length" : undefined;
  const part = (piece: string): Part => {
    text += piece;
    const ids = answer.slice(sent);
    sent = answer.length;
    return { text: piece, ids };
  };

  signal?.throwIfAborted();
  let logits = finishReason ? undefined : await prefill(runner, sequence, request.ids, signal);
  clock.prompt = elapsed();
  while (logits && !finishReason) {
    const id = sample(logits, options, { prompt, answer, isBreaker }, [
      uniform(seed, 2 * answer.length),
      uniform(seed, 2 * answer.length + 1),
    ]);
    answer.push(id);
    if (answer.length === 1) clock.first = elapsed();
    if (options.logprobs || options.topLogprobs) {
      logprobs.push({ id, logprob: logprobOf(logits, id), top: topLogprobs(logits, options.topLogprobs ?? 0) });
    }
    options.onToken?.(id);
    if (context.stopIds.has(id) && !options.ignoreEos) finishReason = "stop";
    else {
      const piece = texts.push(decoder?.push(id) ?? "");
      if (piece) yield part(piece);
      if (texts.found !== undefined) finishReason = "stop";
      else if (answer.length >= maxTokens || sequence.seen >= runner.contextLength) finishReason = "length";
      else if (signal?.aborted) finishReason = "cancelled";
      // Without the signal: a step cut in the middle would lose the state of the whole conversation.
      else logits = await step(runner, sequence, [id]);
    }
  }
  const rest = texts.push(texts.found === undefined ? (decoder?.end() ?? "") : "") + texts.end();
  if (rest) yield part(rest);

  const { toolCalls } = parseToolCalls(text);
  const totalMs = elapsed();
  return {
    text,
    ids: answer,
    finishReason: finishReason === "stop" && toolCalls.length > 0 ? "tool-calls" : finishReason!,
    stopString: texts.found,
    toolCalls,
    logprobs: options.logprobs || options.topLogprobs ? logprobs : undefined,
    usage: { promptTokens: cachedTokens + request.ids.length, cachedTokens, completionTokens: answer.length },
    cacheMissReason: request.cacheMissReason,
    timings: {
      promptMs: clock.prompt,
      firstTokenMs: clock.first,
      totalMs,
      tokensPerSecond: answer.length > 1 ? ((answer.length - 1) * 1000) / (totalMs - clock.first) : 0,
    },
  };
}

/** Whether a token's text holds one of `breakers`; none does without a tokenizer. */
function breakersOf(tokenizer: Tokenizer | undefined, breakers: readonly string[] = ["\n", ":", '"', "*"]): (id: number) => boolean {
  const known = new Map<number, boolean>();
  return (id) => {
    const found = known.get(id);
    if (found !== undefined) return found;
    const piece = tokenizer?.pieceOf(id) ?? "";
    const text = typeof piece === "number" ? String.fromCharCode(piece) : piece;
    const breaks = breakers.some((breaker) => text.includes(breaker));
    known.set(id, breaks);
    return breaks;
  };
}

/** Reads `ids` in chunks that suit the device; logits of the last one. */
async function prefill(runner: Runner, sequence: Sequence, ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
  const { chunkTokens } = runner.backend.device;
  const rest = ids.length - chunkTokens;
  let from = 0;
  for (; from < rest; from += chunkTokens) {
    await runner.step([{ sequence, ids: ids.slice(from, from + chunkTokens), logits: "none" }], { signal });
  }
  return step(runner, sequence, ids.slice(from), signal);
}

async function step(runner: Runner, sequence: Sequence, ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
  const values = await runner.step([{ sequence, ids, logits: "last" }], { signal });
  return values.get("logits")!.data as Float32Array;
}
