// node-llama-cpp as its users run it on a CPU. Not a dependency of this workspace: it is installed when it is first measured.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { endId } from "./conversation.ts";
import type { Job, LoadedSide, Side } from "./sides.ts";

export const peerVersion = "3.22.1";

const platforms: Readonly<Record<string, string>> = {
  "linux-x64": "linux-x64",
  "linux-arm64": "linux-arm64",
  "darwin-arm64": "mac-arm64-metal",
  "darwin-x64": "mac-x64",
  "win32-x64": "win-x64",
  "win32-arm64": "win-arm64",
};

const entryOf = (work: string) => join(work, "peer/node_modules/node-llama-cpp/dist/index.js");

export function installPeer(work: string, log: (line: string) => void): void {
  if (existsSync(entryOf(work))) return;
  const platform = platforms[`${process.platform}-${process.arch}`];
  if (!platform)
    throw new Error(`node-llama-cpp: expected a prebuilt binary for ${process.platform}-${process.arch}, found none; use --ours`);
  const folder = join(work, "peer");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
  const packages = [`node-llama-cpp@${peerVersion}`, `@node-llama-cpp/${platform}@${peerVersion}`];
  log(`installing ${packages.join(" and ")}`);
  const flags = ["install", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--loglevel=error"];
  execFileSync("npm", [...flags, ...packages], {
    cwd: folder,
    stdio: ["ignore", "ignore", "inherit"],
    shell: process.platform === "win32",
  });
}

/** The part of node-llama-cpp that is used here. */
interface Peer {
  getLlama(options: object): Promise<{
    readonly systemInfo: string;
    readonly llamaCppRelease: { readonly release: string };
    loadModel(options: object): Promise<Model>;
  }>;
}

interface Model {
  readonly tokens: { readonly bos: number };
  createContext(options: object): Promise<{ getSequence(): Sequence }>;
  tokenize(text: string): number[];
  detokenize(tokens: number[]): string;
  dispose(): Promise<void>;
}

interface Sequence {
  readonly nextTokenIndex: number;
  readonly tokenMeter: { getState(): Meter; diff(since: Meter): Meter };
  compareContextTokens(tokens: number[]): { readonly firstDifferentIndex: number };
  adaptStateToTokens(tokens: number[], allowShift: boolean): Promise<void>;
  takeCheckpoint(): Promise<void>;
  clearHistory(): Promise<void>;
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>;
  evaluate(tokens: number[], options: object): AsyncGenerator<number, void, number | undefined>;
  evaluateWithMetadata(tokens: number[], metadata: object, options: object): AsyncGenerator<{ confidence: number }, void, number>;
  /** One output for each token, where the token came with what it is to generate. */
  controlledEvaluate(tokens: (number | [number, object])[]): Promise<{ next: Drawn }[]>;
}

interface Drawn {
  readonly token: number;
  /** Best first. */
  readonly logits: Map<number, number>;
  /** Σ exp(logit - best) over the vocabulary. */
  readonly totalLogitWeight: number;
}

interface Meter {
  readonly usedInputTokens: number;
  readonly usedOutputTokens: number;
}

export async function startPeer({ file, threads, contextTokens, sequences, work }: Job): Promise<Side> {
  const { getLlama }: Peer = await import(pathToFileURL(entryOf(work)).href);
  const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: threads });
  return {
    device: `llama.cpp ${llama.llamaCppRelease.release}, ${llama.systemInfo.replaceAll(/\s+/g, " ").trim()}`,
    async load() {
      const model = await llama.loadModel({ modelPath: file });
      const context = await model.createContext({ contextSize: contextTokens, sequences, batchSize: 512, threads });
      return engineOf(
        model,
        Array.from({ length: sequences }, () => context.getSequence()),
      );
    },
  };
}

/** An end-of-text token would end the run before another one takes its place. */
const greedy = { temperature: 0, yieldEogToken: true };
/** Instead of 40 and 0.95, which it takes where nothing is given. */
const uncut = { topK: 0, topP: 1, minP: 0, yieldEogToken: true };

function engineOf(model: Model, sequences: readonly Sequence[]): LoadedSide {
  const [first] = sequences;
  const idle = new Set(sequences);
  let keepsEnds = false;
  /** Of the idle ones that with most of `ids`. */
  const take = (ids: readonly number[]) => {
    const common = (sequence: Sequence) => sequence.compareContextTokens([...ids]).firstDifferentIndex;
    // Among equals an empty one: to erase waits until every prompt that is being read has been.
    const [sequence] = [...idle].sort((a, b) => common(b) - common(a) || a.nextTokenIndex - b.nextTokenIndex);
    if (!sequence) throw new Error(`node-llama-cpp: expected at most ${sequences.length} calls at once, found one more`);
    idle.delete(sequence);
    return sequence;
  };
  return {
    async generate(ids, onToken, goOn) {
      if (!goOn) await first.clearHistory();
      const tokens = first.evaluate(ids.slice(first.nextTokenIndex), greedy);
      for (let step = await tokens.next(); !step.done; ) {
        const next = onToken();
        if (next === undefined) break;
        step = await tokens.next(next);
      }
      await tokens.return();
    },
    async reply(ids, answer, { onToken } = {}) {
      const sequence = take(ids);
      const meter = sequence.tokenMeter.getState();
      // As LlamaChat goes on: what differs is erased, and a checkpoint is taken once the prompt is read.
      await sequence.adaptStateToTokens(ids.slice(0, -1), false);
      for (const [at, id] of ids.entries()) {
        if (!keepsEnds || id !== endId || at < sequence.nextTokenIndex) continue;
        await sequence.evaluateWithoutGeneratingNewTokens(ids.slice(sequence.nextTokenIndex, at + 1));
        await sequence.takeCheckpoint();
      }
      const tokens = sequence.evaluate(ids.slice(sequence.nextTokenIndex), greedy);
      await tokens.next();
      onToken?.();
      await sequence.takeCheckpoint();
      for (const said of answer.slice(0, -1)) {
        await tokens.next(said);
        onToken?.();
      }
      await tokens.return();
      idle.add(sequence);
      const { usedInputTokens, usedOutputTokens } = sequence.tokenMeter.diff(meter);
      return usedInputTokens + usedOutputTokens - (answer.length - 1);
    },
    async draw(ids, tokens, { topLogprobs, ...sampler }, onToken) {
      const sequence = take(ids);
      await sequence.adaptStateToTokens(ids.slice(0, -1), false);
      const rest = ids.slice(sequence.nextTokenIndex);
      const drawn = topLogprobs ? drawLogprobs(sequence, rest, topLogprobs) : sequence.evaluate(rest, { ...uncut, ...sampler });
      for (let left = tokens; left > 0; left--) {
        await drawn.next();
        onToken();
      }
      await drawn.return();
      idle.add(sequence);
    },
    async answer(text, tokens) {
      const ids = [model.tokens.bos, ...model.tokenize(text)];
      const sequence = take(ids);
      await sequence.adaptStateToTokens(ids.slice(0, -1), false);
      const drawn: number[] = [];
      for await (const id of sequence.evaluate(ids.slice(sequence.nextTokenIndex), greedy)) if (drawn.push(id) === tokens) break;
      idle.add(sequence);
      return { text: model.detokenize(drawn), promptTokens: ids.length, newTokens: drawn.length };
    },
    keepEnds() {
      keepsEnds = true;
    },
    async check() {
      await first.clearHistory();
      const step = await first.evaluateWithMetadata([1, 300, 301], { confidence: true }, greedy).next();
      const { confidence } = step.value as { confidence: number };
      if (!(confidence > 0 && confidence <= 1)) throw new Error(`node-llama-cpp: expected a probability, found ${confidence}`);
      await first.clearHistory();
    },
    close: () => model.dispose(),
  };
}

/** Its way to log probabilities without those of the whole vocabulary, which it would give as a Map of them all. */
async function* drawLogprobs(sequence: Sequence, ids: readonly number[], count: number) {
  const generateNext = {
    token: true,
    logits: { filter: { tokens: [], includeTop: count, includeSelected: true } },
    totalLogitWeight: true,
    options: { temperature: 0 },
  };
  for (let tokens = ids; ; ) {
    const outputs = await sequence.controlledEvaluate([...tokens.slice(0, -1), [tokens.at(-1)!, { generateNext }]]);
    const { token, logits, totalLogitWeight } = outputs.at(-1)!.next;
    const [best] = logits.values();
    const logprobs = Array.from(logits, ([id, logit]) => ({ id, logprob: logit - best - Math.log(totalLogitWeight) }));
    if (logprobs.length < count || !(logprobs[0].logprob <= 0))
      throw new Error(`node-llama-cpp: expected ${count} log probabilities, found ${JSON.stringify(logprobs)}`);
    yield token;
    tokens = [token];
  }
}
