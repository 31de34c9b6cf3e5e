// One answer, token by token. Ends at a stop id, a stop text, a limit or an abort.

import { JambaError } from "@jamba/core";
import type { ToolCall } from "@jamba/tokenizer";
import { parseToolCalls, StreamDecoder, type Tokenizer } from "@jamba/tokenizer";
import type { Engine, KeptState } from "./engine.ts";
import type { GenerateOptions } from "./options.ts";
import { Lookahead } from "./prompt-lookup.ts";
import { logprobOf, sample, type TokenLogprob, topLogprobs, uniform } from "./sampler.ts";
import { StopTexts } from "./stop-texts.ts";

/** A piece of the answer, as soon as it can't change any more. */
export interface Part {
  readonly text: string;
  /** The tokens drawn since the last part. */
  readonly ids: readonly number[];
  /** Of which answer, with `n`. */
  readonly index?: number;
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
  /** Why less than half of the prompt was there already. */
  readonly cacheMissReason?: string;
  /** With `promptLookup`: tokens that were tried ahead, and those of them that the answer has. */
  readonly speculation?: { readonly drafted: number; readonly accepted: number };
  /** With `n`: all answers, of which this is the first. */
  readonly choices?: readonly Result[];
  readonly timings: Timings;
}

export interface Timings {
  /** Until the prompt was read, waiting for others included. */
  readonly promptMs: number;
  readonly firstTokenMs: number;
  readonly totalMs: number;
  /** Of the tokens after the first. */
  readonly tokensPerSecond: number;
}

export interface GenerateContext {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer | undefined;
  readonly stopIds: ReadonlySet<number>;
  readonly identity: Identity | JambaError;
  /** From generation_config.json, for options that are not given. */
  readonly defaults: Partial<GenerateOptions>;
}

/** What a saved state must have been made with: fingerprints. */
export interface Identity {
  readonly model: string;
  readonly tokenizer?: string;
}

/** @throws JambaError UNSUPPORTED where nothing can name the model */
export function expectIdentity(identity: Identity | JambaError): Identity {
  if (identity instanceof JambaError) throw identity;
  return identity;
}

export interface Request {
  /** The whole prompt. At least one token. */
  readonly ids: readonly number[];
  /** Takes over the state after the answer, pinned, with the tokens that it has read. */
  readonly onEnd?: (kept: KeptState, ids: readonly number[]) => void;
}

/** New tokens when `maxTokens` is not given. */
const defaultMaxTokens = 1024;

/**
 * Yields text as it comes and returns the whole.
 * An abort before the first token throws the signal's reason; a later one ends the answer with "cancelled".
 */
export async function* generate(context: GenerateContext, request: Request, given: GenerateOptions): AsyncGenerator<Part, Result> {
  const { engine } = context;
  const options = { ...context.defaults, ...given };
  const { maxTokens = defaultMaxTokens, priority, timeoutMs } = options;
  const signals = [options.signal ?? [], timeoutMs === undefined ? [] : AbortSignal.timeout(timeoutMs)].flat();
  const signal = signals.length > 1 ? AbortSignal.any(signals) : signals[0];
  const start = performance.now();
  signal?.throwIfAborted();
  if (maxTokens === 0) return { ...noAnswer, usage: { promptTokens: request.ids.length, cachedTokens: 0, completionTokens: 0 } };
  const opened = await engine.open(request.ids, { maxTokens, priority, signal });
  const promptMs = performance.now() - start;
  const ahead = new Lookahead(engine, opened, options.promptLookup);
  try {
    const answer = yield* answerOf(context, request.ids, opened.logits, ahead, {
      ...options,
      maxTokens: Math.min(maxTokens, engine.roomOf(opened) + 1),
      signal,
    });
    const totalMs = performance.now() - start;
    const { firstTokenAt, ...found } = answer;
    const firstTokenMs = firstTokenAt - start;
    const completionTokens = answer.ids.length;
    return {
      ...found,
      usage: { promptTokens: request.ids.length, cachedTokens: opened.cachedTokens, completionTokens },
      cacheMissReason: opened.cacheMissReason,
      speculation: options.promptLookup && ahead.counts,
      timings: {
        promptMs,
        firstTokenMs,
        totalMs,
        tokensPerSecond: completionTokens > 1 ? ((completionTokens - 1) * 1000) / (totalMs - firstTokenMs) : 0,
      },
    };
  } finally {
    ahead.dispose();
    const kept = engine.end(opened);
    if (kept && request.onEnd) request.onEnd(kept, opened.ids);
    else if (kept) engine.release(kept);
  }
}

const noAnswer = {
  text: "",
  ids: [],
  finishReason: "length",
  toolCalls: [],
  timings: { promptMs: 0, firstTokenMs: 0, totalMs: 0, tokensPerSecond: 0 },
} as const;

type Answer = Pick<Result, "text" | "ids" | "finishReason" | "stopString" | "toolCalls" | "logprobs"> & { firstTokenAt: number };

/** Draws token after token, the first from `logits`, until something ends the answer. */
async function* answerOf(
  { tokenizer, stopIds }: GenerateContext,
  prompt: readonly number[],
  logits: Float32Array,
  ahead: Lookahead,
  options: GenerateOptions & { maxTokens: number },
): AsyncGenerator<Part, Answer> {
  const { maxTokens, stop = [], signal, topLogprobs: alternatives = 0 } = options;
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 52);
  const ids: number[] = [];
  const logprobs: (TokenLogprob & { top: TokenLogprob[] })[] = [];
  const decoder = tokenizer && new StreamDecoder(tokenizer);
  const isBreaker = breakersOf(tokenizer, options.dry?.breakers);
  const texts = new StopTexts([stop].flat());
  let text = "";
  let sent = 0;
  let firstTokenAt = 0;
  const part = (piece: string): Part => {
    text += piece;
    const drawn = ids.slice(sent);
    sent = ids.length;
    return { text: piece, ids: drawn };
  };
  let finishReason: Result["finishReason"] | undefined;
  while (!finishReason) {
    const at = 2 * ids.length;
    const id = sample(logits, options, { prompt, answer: ids, isBreaker }, [uniform(seed, at), uniform(seed, at + 1)]);
    ids.push(id);
    if (ids.length === 1) firstTokenAt = performance.now();
    if (options.logprobs || alternatives) {
      logprobs.push({ id, logprob: logprobOf(logits, id), top: topLogprobs(logits, alternatives) });
    }
    options.onToken?.(id);
    if (stopIds.has(id) && !options.ignoreEos) finishReason = "stop";
    else {
      const piece = texts.push(decoder?.push(id) ?? "");
      if (piece) yield part(piece);
      if (texts.found !== undefined) finishReason = "stop";
      else if (ids.length >= maxTokens) finishReason = "length";
      else if (signal?.aborted) finishReason = "cancelled";
      // Without the signal: a step cut in the middle would lose the state of the whole conversation.
      else logits = await ahead.next(id);
    }
  }
  const rest = texts.push(texts.found === undefined ? (decoder?.end() ?? "") : "") + texts.end();
  if (rest) yield part(rest);
  const { toolCalls } = parseToolCalls(text);
  return {
    text,
    ids,
    finishReason: finishReason === "stop" && toolCalls.length > 0 ? "tool-calls" : finishReason,
    stopString: texts.found,
    toolCalls,
    logprobs: options.logprobs || alternatives ? logprobs : undefined,
    firstTokenAt,
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
