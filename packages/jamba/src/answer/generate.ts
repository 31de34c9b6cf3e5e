// One answer, token by token. Ends at a stop id, a stop text, a limit or an abort.

import { unlessAborted } from "@jamba/core";
import type { Tokenizer } from "@jamba/tokenizer";
import type { KeptState } from "../engine/calls.ts";
import type { Engine } from "../engine/engine.ts";
import type { RowEvidence } from "../engine/evidence.ts";
import type { Constraint, Constraints } from "../format/constraint.ts";
import { type SchemaIssue, validate } from "../format/standard-schema.ts";
import type { IdentitySource } from "../state/identity.ts";
import { type AnswerCall, AnswerParts, type AnswerPiece } from "./answer-parts.ts";
import { AnswerText } from "./answer-text.ts";
import { ComingTokens } from "./coming-tokens.ts";
import type { CheckedOptions } from "./options.ts";
import { expectTokenizer, type ReadPrompt } from "./prompt.ts";
import { Lookahead } from "./prompt-lookup.ts";
import type { Round, ToolResult } from "./run-tools.ts";
import { draw, logprobsOf, questionsOf, sampleRow, uniform } from "./sampler.ts";
import { type TokenLogprob, withText } from "./token-text.ts";

/** A piece of the answer, as soon as it can't change any more. */
export interface Part {
  readonly text: string;
  /** The same, split: what is said, thoughts, and calls of tools as they are written. */
  readonly pieces: readonly AnswerPiece[];
  /** The tokens drawn since the last part; the last part of an answer may have nothing else. */
  readonly ids: readonly number[];
  /** Of `ids`, if they were asked for. */
  readonly logprobs?: Result["logprobs"];
  /** With the first part of an answer. */
  readonly usage?: Pick<Usage, "promptTokens" | "cachedTokens">;
  /** Of which answer, with `n`. */
  readonly index?: number;
  /** With `n`: that answer has ended, in a part of its own that has nothing else. */
  readonly result?: Result;
  /** With tools that run: of which answer, from 0. */
  readonly round?: number;
  /** A call that was run, in a part of its own that has nothing else. */
  readonly toolResult?: ToolResult;
}

export interface Result<Parsed = unknown> {
  /**
   * Of the new tokens, without the one that ended the answer, and without thoughts unless `reasoning` is false; special tokens and calls
   * within it are spelled out.
   */
  readonly text: string;
  /** What is said: neither thoughts nor calls. */
  readonly content: string;
  /** The new tokens, with the one that ended the answer. */
  readonly ids: readonly number[];
  readonly finishReason: "stop" | "length" | "tool-calls" | "cancelled";
  /** Of a cancelled answer: the reason that its signal gave, or a TimeoutError after `timeoutMs`. */
  readonly cancelReason?: unknown;
  /** The text of `stop` that ended the answer. */
  readonly stopString?: string;
  /** The last one may be incomplete where something else than the model ended the answer. */
  readonly toolCalls: readonly AnswerCall[];
  /**
   * With `format: { type: "json" }`: the value of a whole answer, as the schema's library makes it of the JSON where it is one's schema.
   * Undefined for an answer that was cut, and for one that the library refuses.
   */
  readonly parsed?: Parsed;
  /** Why the schema's library refuses the value: what a grammar can't enforce, such as its own refinements; or what it throws. */
  readonly parseIssues?: readonly SchemaIssue[];
  /** With tools that run: the answers whose calls were run, and what came of them. `usage` counts them too. */
  readonly rounds?: readonly Round[];
  /** Thoughts before the answer. */
  readonly reasoning?: string;
  /** Of each of `ids`, with `logprobs` or `topLogprobs`; `top` are the most probable ones there, best first. */
  readonly logprobs?: readonly DrawnLogprob[];
  readonly usage: Usage;
  /** Why less than half of the prompt was there already. */
  readonly cacheMissReason?: string;
  /** With `truncation: "auto"`: the indices of the messages that the model did not see, rising; none where all fit. Of a session, in its `messages`. */
  readonly dropped?: readonly number[];
  /** Keywords of schemas that are not strict which the answer is not bound to, as paths such as `format.schema.not`; check it for them. */
  readonly notEnforced?: readonly string[];
  /** With `promptLookup`: tokens that were tried ahead, and those of them that the answer has. */
  readonly speculation?: { readonly drafted: number; readonly accepted: number };
  /** With `n`: all answers, of which this is the first. */
  readonly choices?: readonly Result<Parsed>[];
  readonly timings: Timings;
}

export interface DrawnLogprob extends TokenLogprob {
  readonly top: readonly TokenLogprob[];
}

/** In tokens. */
export interface Usage {
  readonly promptTokens: number;
  /** Those of the prompt that a kept state already held. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

export interface Timings {
  /** Until the prompt was read, waiting for others included. */
  readonly promptMs: number;
  readonly firstTokenMs: number;
  readonly totalMs: number;
  /** Of the tokens after the first. */
  readonly tokensPerSecond: number;
  /** Tokens that took all logits to draw, of which the best and some sums are enough for most. */
  readonly fullRowDraws: number;
  /** Tokens that a format or a call left no choice about: they are read along with the next one that is drawn. */
  readonly forcedTokens: number;
  /** Of `firstTokenMs`, what it took to compile a format and tools; next to none where the same were compiled before. */
  readonly formatMs: number;
}

export interface GenerateContext {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer | undefined;
  readonly contextLength: number;
  readonly stopIds: ReadonlySet<number>;
  readonly constraints: Constraints | undefined;
  readonly identity: IdentitySource;
  /** From generation_config.json, for options that are not given. */
  readonly defaults: Omit<CheckedOptions, "tools" | "runners">;
}

export interface Request extends ReadPrompt {
  /** A state that the prompt may go on from although it was made elsewhere. */
  readonly from?: KeptState;
  /** Takes over the state after the answer, pinned, with the tokens that it has read and the text as the model wrote it. */
  readonly onEnd?: (kept: KeptState, ids: readonly number[], written: string) => void;
}

/** New tokens when `maxTokens` is not given. */
const defaultMaxTokens = 1024;

/**
 * Yields text as it comes and returns the whole. An abort ends the answer with what there is, which may be nothing.
 * @param asked a prompt that is read, or what reads it
 */
export async function* generate(
  context: GenerateContext,
  asked: Request | (() => Promise<Request>),
  given: CheckedOptions,
): AsyncGenerator<Part, Result> {
  let request: Request | undefined;
  try {
    // Calls begin in the order in which they were made: none waits for what is there.
    request = typeof asked === "function" ? await asked() : asked;
    const { written, ...result } = yield* answerTo(context, request, given);
    return { ...result, ...(await parsedValue(result, written, request, given)) };
  } catch (error) {
    return cancelledBefore(error, given.signal, request);
  }
}

/** What an answer is that `signal` cancelled before its first token. @throws `error` where that is no such cancel */
export function cancelledBefore(error: unknown, signal: AbortSignal | undefined, request: ReadPrompt = { ids: [] }): Result {
  if (!signal?.aborted || error !== signal.reason) throw error;
  return noAnswer("cancelled", request, error);
}

/** @throws the signal's reason where it aborts before the first token */
async function* answerTo(context: GenerateContext, request: Request, given: CheckedOptions): AsyncGenerator<Part, Written> {
  const { engine } = context;
  const options = { ...context.defaults, ...given };
  const { maxTokens = defaultMaxTokens, priority, tenant, signal } = options;
  const { systemTokens, from } = request;
  const start = performance.now();
  signal?.throwIfAborted();
  if (maxTokens === 0) return { ...noAnswer("length", request), written: "" };
  const constraint = await constraintOf(context, request, options);
  const isBreaker = breakersOf(context.tokenizer, options.dry?.breakers);
  const said = { prompt: request.ids, answer: [], isBreaker };
  const questions = questionsOf(options, said, engine.stateShape.vocabSize);
  // Answers to one prompt share what was read of it, and take turns as one.
  const owner = { tenant, systemTokens, from, request: options.request ?? request };
  const opened = await engine.open(request.ids, { ...owner, maxTokens, priority, questions, signal }).catch((error) => {
    constraint?.dispose();
    throw error;
  });
  const promptMs = performance.now() - start;
  const ahead = new Lookahead(engine, opened, options.promptLookup);
  let written: string | undefined;
  try {
    signal?.throwIfAborted();
    const most = Math.min(maxTokens, engine.roomOf(opened) + 1);
    const sources = { ahead, constraint, isBreaker, first: opened.evidence, cachedTokens: opened.cachedTokens };
    const answer = yield* answerOf(context, request, sources, { ...options, maxTokens: most, signal });
    const totalMs = performance.now() - start;
    const { firstTokenAt, fullRowDraws, forcedTokens, ...found } = answer;
    written = found.written;
    const firstTokenMs = firstTokenAt - start;
    const completionTokens = answer.ids.length;
    return {
      ...found,
      usage: { promptTokens: request.ids.length, cachedTokens: opened.cachedTokens, completionTokens },
      cacheMissReason: opened.cacheMissReason,
      ...(request.dropped && { dropped: request.dropped }),
      ...(constraint?.notEnforced.length && { notEnforced: constraint.notEnforced }),
      speculation: options.promptLookup && ahead.counts,
      timings: {
        promptMs,
        firstTokenMs,
        totalMs,
        tokensPerSecond: completionTokens > 1 ? ((completionTokens - 1) * 1000) / (totalMs - firstTokenMs) : 0,
        fullRowDraws,
        forcedTokens,
        formatMs: constraint?.openMs ?? 0,
      },
    };
  } finally {
    ahead.dispose();
    constraint?.dispose();
    const kept = engine.end(opened);
    if (kept && request.onEnd && written !== undefined) request.onEnd(kept, opened.ids, written);
    else if (kept) engine.release(kept);
  }
}

/** Nothing read and nothing said. */
function noAnswer(finishReason: "length" | "cancelled", { ids, dropped }: ReadPrompt, cancelReason?: unknown): Result {
  return {
    text: "",
    content: "",
    ids: [],
    finishReason,
    ...(finishReason === "cancelled" && { cancelReason }),
    ...(dropped && { dropped }),
    toolCalls: [],
    usage: { promptTokens: ids.length, cachedTokens: 0, completionTokens: 0 },
    timings: { promptMs: 0, firstTokenMs: 0, totalMs: 0, tokensPerSecond: 0, fullRowDraws: 0, forcedTokens: 0, formatMs: 0 },
  };
}

/** @throws JambaError OPTION for a format or a choice of tools that nothing can fit */
async function constraintOf(
  { constraints, tokenizer }: GenerateContext,
  { form }: ReadPrompt,
  { format, tools, toolChoice, parallelToolCalls, tenant, signal }: CheckedOptions,
): Promise<Constraint | undefined> {
  // A plain text calls tools in a form of its own, if at all.
  const isFree = !form && (toolChoice === undefined || toolChoice === "auto" || toolChoice === "none");
  if (!format && (isFree || (!tools?.length && toolChoice === undefined))) return undefined;
  if (!constraints) expectTokenizer(tokenizer);
  const calls = { tools: isFree ? undefined : tools, toolChoice, parallelToolCalls };
  const { name, thoughts, prefix } = form ?? {};
  return constraints!.open({ format, ...calls, form: name, thoughts }, { given: prefix, tenant, signal });
}

/** What a whole answer in JSON says, together with what of it the prompt has. A cancel does not wait for the schema's library. */
async function parsedValue(
  { finishReason, stopString }: Result,
  written: string,
  { form }: ReadPrompt,
  { format, answerSchema, signal }: CheckedOptions,
): Promise<Pick<Result, "parsed" | "parseIssues"> | Pick<Result, "finishReason" | "cancelReason">> {
  if (format?.type !== "json" || finishReason !== "stop" || stopString !== undefined) return {};
  const whole = new AnswerParts({ thoughts: form?.thoughts });
  whole.push((form?.prefix ?? "") + written);
  whole.end();
  try {
    const parsed: unknown = JSON.parse(whole.text);
    if (!answerSchema) return { parsed };
    const { value, issues } = await unlessAborted(() => validate(answerSchema, parsed), signal);
    return issues ? { parseIssues: issues } : { parsed: value };
  } catch (error) {
    if (signal?.aborted && error === signal.reason) return { finishReason: "cancelled", cancelReason: error };
    return { parseIssues: [{ message: error instanceof Error ? error.message : String(error) }] };
  }
}

/** A result, and the text as the model wrote it. */
type Written = Result & { readonly written: string };

type Answer = Omit<Result, "usage" | "timings" | "cacheMissReason" | "dropped" | "notEnforced" | "speculation" | "choices"> & {
  firstTokenAt: number;
  fullRowDraws: number;
  forcedTokens: number;
  written: string;
};

interface Sources {
  readonly ahead: Lookahead;
  readonly constraint: Constraint | undefined;
  /** Whether a token ends what DRY compares. */
  readonly isBreaker: (id: number) => boolean;
  /** What the first token is drawn from. */
  readonly first: RowEvidence;
  readonly cachedTokens: number;
}

/** Draws token after token until something ends the answer. Those that can only be one are not drawn. */
async function* answerOf(
  { engine, tokenizer, stopIds }: GenerateContext,
  request: ReadPrompt,
  { ahead, constraint, isBreaker, first, cachedTokens }: Sources,
  options: CheckedOptions & { maxTokens: number },
): AsyncGenerator<Part, Answer> {
  const { maxTokens, signal, topLogprobs: alternatives = 0 } = options;
  const { ids: prompt } = request;
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 52);
  const ids: number[] = [];
  const logprobs: DrawnLogprob[] = [];
  const wantsLogprobs = options.logprobs === true || alternatives > 0;
  const { vocabSize } = engine.stateShape;
  const questionsAfter = (more: readonly number[]) => questionsOf(options, { prompt, answer: [...ids, ...more], isBreaker }, vocabSize);
  const text = new AnswerText(tokenizer, request, options, { drawn: { ids, logprobs }, cachedTokens });
  const mayEndAnywhere = [options.stop ?? []].flat().length > 0;
  const coming = new ComingTokens({ ahead, constraint, first, everyRow: wantsLogprobs, mayEndAnywhere });
  await coming.begin(maxTokens);
  let firstTokenAt = 0;
  let fullRowDraws = 0;
  let finishReason: Result["finishReason"] | undefined;
  while (!finishReason) {
    const { row, ...next } = coming.take();
    let { id } = next;
    if (id === undefined) {
      const allowed = await constraint?.allowed();
      const at = 2 * ids.length;
      const draws = [options, { prompt, answer: ids, isBreaker }, [uniform(seed, at), uniform(seed, at + 1)], allowed] as const;
      id = draw(row!, ...draws);
      if (id === undefined) {
        fullRowDraws++;
        id = sampleRow(await row!.row(), ...draws);
      }
      await coming.draw(id);
    }
    ids.push(id);
    if (ids.length === 1) firstTokenAt = performance.now();
    if (wantsLogprobs) logprobs.push(await logprobsAfter(row!, id, alternatives, tokenizer));
    row?.drawn();
    options.onToken?.(id);
    if (stopIds.has(id) && (constraint || !options.ignoreEos)) {
      finishReason = "stop";
      break;
    }
    const part = text.push();
    if (part) yield part;
    if (text.stopString !== undefined) finishReason = "stop";
    else if (ids.length >= maxTokens) finishReason = "length";
    else if (signal?.aborted && !coming.isBound) finishReason = "cancelled";
    else await coming.goOn(maxTokens - ids.length, questionsAfter);
  }
  coming.end();
  const rest = text.end(finishReason !== "stop");
  if (rest) yield rest;
  const whole = text.whole();
  return {
    ...whole,
    ids,
    finishReason: finishReason === "stop" && whole.toolCalls.length > 0 ? "tool-calls" : finishReason,
    ...(finishReason === "cancelled" && { cancelReason: signal!.reason }),
    logprobs: wantsLogprobs ? logprobs : undefined,
    fullRowDraws,
    forcedTokens: coming.forced,
    firstTokenAt,
  };
}

async function logprobsAfter(
  evidence: RowEvidence,
  id: number,
  alternatives: number,
  tokenizer: Tokenizer | undefined,
): Promise<DrawnLogprob> {
  let found = logprobsOf(evidence, id, alternatives);
  if (!found) {
    // A token that was drawn from the whole row may be none of the best.
    const { ids, values, max, sumExp } = evidence;
    const logit = (await evidence.row())[id];
    found = logprobsOf({ ids, values, max, sumExp, asked: new Map([[id, logit]]) }, id, alternatives)!;
  }
  return { ...withText(tokenizer, found), top: found.top.map((one) => withText(tokenizer, one)) };
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
