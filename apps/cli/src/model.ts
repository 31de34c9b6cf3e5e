// A loaded model for the time of a command, with what is said about it.

import { setImmediate } from "node:timers/promises";
import cliProgress from "cli-progress";
import {
  type BackendName,
  type GenerateOptions,
  JambaError,
  type JambaModel,
  type LoadOptions,
  loadModel,
  type Part,
  type Result,
  type TextStream,
  type Tokenizer,
} from "jamba";
import { type CommandInput, sourceOf } from "./command.ts";
import type { Flags } from "./flags.ts";
import { widthOf } from "./io.ts";
import { bytes, milliseconds } from "./layout.ts";

/** Loads, shows how far it is, and disposes of the model when `use` is done. */
export async function withModel<T>(input: CommandInput, model: string, use: (model: JambaModel) => Promise<T>): Promise<T> {
  const { flags, interrupts } = input;
  const { backend, dtype, threads, offline, contextLength } = flags;
  const progress = openProgress(input);
  const options = { threads, offline, contextLength, signal: interrupts.signal, onProgress: progress.update };
  let loaded: JambaModel;
  try {
    // Whether these are names that exist is for loadModel to say.
    loaded = await loadModel(sourceOf(model), { ...options, backend: backend as BackendName, dtype: dtype as LoadOptions["dtype"] });
  } finally {
    progress.stop();
  }
  try {
    return await use(loaded);
  } finally {
    await loaded.dispose();
  }
}

function openProgress({ io, output }: CommandInput): { update: LoadOptions["onProgress"]; stop(): void } {
  if (output.silent || !io.stderr.isTTY) return { update: undefined, stop: () => undefined };
  const bar = new cliProgress.SingleBar({
    stream: io.stderr,
    format: "loading {bar} {percentage}% of {size}",
    // The words around the bar take 31 columns at most.
    barsize: Math.min(40, widthOf(io.stderr) - 32),
    barCompleteChar: "█",
    barIncompleteChar: "░",
    clearOnComplete: true,
    // A second Ctrl-C ends the process at once, with no one left to show the cursor again.
    hideCursor: null,
    gracefulExit: false,
  });
  let started = false;
  return {
    update({ doneBytes, totalBytes }) {
      if (!started) bar.start(totalBytes, 0, { size: bytes(totalBytes) });
      started = true;
      bar.update(doneBytes);
    },
    stop: () => bar.stop(),
  };
}

export function tokenizerOf(model: JambaModel): Tokenizer | undefined {
  try {
    return model.tokenizer;
  } catch (error) {
    if (error instanceof JambaError && error.code === "TOKENIZER") return undefined;
    throw error;
  }
}

export function answerOptions({
  maxTokens,
  temperature,
  topK,
  topP,
  minP,
  seed,
  stop,
  repetitionPenalty,
  ignoreEos,
  logprobs,
}: Flags): GenerateOptions {
  return { maxTokens, temperature, topK, topP, minP, seed, stop, repetitionPenalty, ignoreEos, logprobs };
}

/** Hands on the parts as they come. The turn between them lets Ctrl-C in, which quick steps would keep out. */
export async function follow(stream: TextStream, onPart: (part: Part) => Promise<void>): Promise<Result> {
  for await (const part of stream) {
    await onPart(part);
    await setImmediate();
  }
  return stream.result;
}

/** The fields of a `Result` that are fixed, then those that it happens to have. */
export function resultDocument({ text, ids, finishReason, usage, timings, toolCalls, ...others }: Result) {
  return { text, ids, finishReason, usage, timings, ...(toolCalls.length > 0 && { toolCalls }), ...others };
}

export function speedOf({ usage: { completionTokens }, timings: { tokensPerSecond } }: Result): string {
  const tokens = `${completionTokens} token${completionTokens === 1 ? "" : "s"}`;
  return completionTokens > 1 ? `${tokens}, ${tokensPerSecond.toFixed(1)}/s` : tokens;
}

export function firstTokenOf({ usage, timings }: Result): string {
  return usage.completionTokens > 0 ? `first after ${milliseconds(timings.firstTokenMs)}` : `read in ${milliseconds(timings.promptMs)}`;
}

export function deviceOf(model: JambaModel, { dtype = "auto" }: Flags): string {
  return `${model.device.kind}, ${dtype === "auto" ? "dtype as stored" : dtype}`;
}
