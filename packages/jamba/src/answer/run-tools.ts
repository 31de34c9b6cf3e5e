// Answers whose calls of tools are run, and answered in turn, until the model calls none.

import { unlessAborted } from "@jamba/core";
import type { Message } from "@jamba/tokenizer";
import type { AnswerCall } from "./answer-parts.ts";
import type { Part, Result } from "./generate.ts";
import { merged } from "./merged.ts";
import type { CheckedOptions } from "./options.ts";
import type { RunTool } from "./tools.ts";

/** What came of a call. */
export interface ToolResult {
  readonly id: string;
  readonly name: string;
  readonly arguments: unknown;
  /** What the tool returned. */
  readonly result?: unknown;
  /** What it threw (an Error where that is nothing), or why it was not awaited; the model is told its message. */
  readonly error?: unknown;
}

/** What came of a call, and what the model is told of it. */
interface Told {
  readonly found: ToolResult;
  readonly message: Message;
}

/** One answer with its calls, and what came of them, in the calls' order. */
export interface Round {
  readonly answer: Result;
  readonly toolResults: readonly ToolResult[];
}

/** A conversation that goes on. */
export interface Conversing {
  /** Answers what was said. */
  answer(options: CheckedOptions): AsyncGenerator<Part, Result>;
  /** Adds to what was said. */
  add(messages: readonly Message[]): void;
}

const defaultMaxRounds = 10;

/**
 * All calls of an answer run at the same time. Where one has no `run`, or no round is left, the answer with its calls is the last one.
 * Only the first round has to call, or goes on from the last message: what `toolChoice` demands, and `continueFinalMessage`, hold for that.
 */
export async function* answerInRounds(conversation: Conversing, options: CheckedOptions): AsyncGenerator<Part, Result> {
  const { runners, maxRounds = defaultMaxRounds, signal } = options;
  const rounds: Round[] = [];
  for (;;) {
    const round = rounds.length;
    const answer = yield* numbered(conversation.answer(round === 0 ? options : afterFirst(options)), round);
    const calls = answer.finishReason === "tool-calls" ? answer.toolCalls : [];
    if (calls.length === 0 || round + 1 >= maxRounds || !calls.every(({ name }) => runners?.has(name)))
      return { ...answer, rounds, usage: sumOf([...rounds.map((one) => one.answer), answer]) };
    const told: Told[] = [];
    for await (const [i, one] of settled(calls.map((call) => runCall(runners!.get(call.name)!, call, signal)))) {
      told[i] = one;
      yield { text: "", pieces: [], ids: [], round, toolResult: one.found };
    }
    rounds.push({ answer, toolResults: told.map(({ found }) => found) });
    conversation.add(told.map(({ message }) => message));
    if (signal?.aborted)
      return { ...answer, finishReason: "cancelled", cancelReason: signal.reason, rounds, usage: sumOf(rounds.map((one) => one.answer)) };
  }
}

async function* numbered(answer: AsyncGenerator<Part, Result>, round: number): AsyncGenerator<Part, Result> {
  try {
    for (;;) {
      const next = await answer.next();
      if (next.done) return next.value;
      yield { ...next.value, round };
    }
  } finally {
    await answer.return(undefined as never);
  }
}

async function runCall(run: RunTool, call: AnswerCall, signal = new AbortController().signal): Promise<Told> {
  const { id, name, arguments: args } = call;
  const tell = (content: string): Message => ({ role: "tool", toolCallId: id, name, content });
  try {
    // A copy: what a tool does to its arguments must not change what is told of the call.
    const result = await unlessAborted(() => run(structuredClone(args), { id, name, signal }), signal);
    return { found: { id, name, arguments: args, result }, message: tell(textOf(result)) };
  } catch (thrown) {
    const error = thrown ?? new Error(`${name} failed, and did not say why`);
    return { found: { id, name, arguments: args, error }, message: tell(errorText(error)) };
  }
}

/** Each as soon as it is there, with its place. */
async function* settled<T>(work: readonly Promise<T>[]): AsyncGenerator<readonly [number, T]> {
  const once = work.map((one) => ({ next: async () => ({ done: true as const, value: await one }) }));
  for await (const { at, found } of merged<never, T>(once)) yield [at, found.value];
}

/** @throws TypeError for what has no JSON */
function textOf(result: unknown): string {
  return typeof result === "string" ? result : (JSON.stringify(result) ?? "null");
}

function errorText(error: unknown): string {
  try {
    const { message = error } = Object(error) as { readonly message?: unknown };
    return JSON.stringify({ error: typeof message === "object" ? message : String(message) });
  } catch {
    return JSON.stringify({ error: "one that can't be shown" });
  }
}

function afterFirst({ continueFinalMessage: _, ...options }: CheckedOptions): CheckedOptions {
  const { toolChoice } = options;
  if (typeof toolChoice === "object" && "allowed" in toolChoice) return { ...options, toolChoice: { ...toolChoice, mode: "auto" } };
  return { ...options, toolChoice: toolChoice === "none" ? toolChoice : "auto" };
}

function sumOf(answers: readonly Result[]): Result["usage"] {
  const sum = (key: keyof Result["usage"]) => answers.reduce((total, { usage }) => total + usage[key], 0);
  return { promptTokens: sum("promptTokens"), cachedTokens: sum("cachedTokens"), completionTokens: sum("completionTokens") };
}
