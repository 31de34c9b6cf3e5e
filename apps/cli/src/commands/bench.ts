import { type JambaModel, loadModel } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags, loadOptions, numberFlag, textFlag, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { bytesText, coloursFor, counted, interruptible, loadBar } from "../terminal.ts";
import { shortRun } from "../with-model.ts";

/** Tokens read before the ones whose writing is timed. */
const decodePrompt = 16;

export const bench: Command = {
  words: "[MODEL]",
  summary: "how fast MODEL is on this machine",
  about: `Tokens are random, also those fed back while writing: so experts vary as they
do in a text. Times include the choice of each token.`,
  flags: {
    prompt: { type: "string", value: "N,N", fallback: "128,512", help: "tokens of the prompts that are read" },
    "max-tokens": {
      type: "string",
      short: "n",
      value: "N",
      fallback: "64",
      help: `tokens that are written after a prompt of ${decodePrompt}`,
    },
    repeat: { type: "string", value: "N", fallback: "3", help: "times for each; median and range are shown" },
    ...commonFlags,
  },

  async run({ flags, words }, terminal) {
    if (words.length > 1) throw new UsageError(`bench: expected one model, found ${JSON.stringify(words.join(" "))}`);
    const source = await modelOf(words[0]);
    const prompts = (textFlag(flags, "prompt") ?? "128,512")
      .split(",")
      .map((text) => count("--prompt", /^\d+$/.test(text) ? Number(text) : Number.NaN));
    const written = count("--max-tokens", numberFlag(flags, "max-tokens") ?? 64);
    const repeat = count("--repeat", numberFlag(flags, "repeat") ?? 3);
    const quiet = Boolean(flags.quiet || flags.json);
    const bar = loadBar(terminal, !quiet);
    const started = performance.now();
    return interruptible(terminal, async (signal) => {
      const options = { ...loadOptions(flags, terminal), ...shortRun, signal, onProgress: bar.onProgress };
      const model = await loadModel(source, options).finally(bar.stop);
      const loadMs = performance.now() - started;
      try {
        await speeds(model, decodePrompt, 2, 1, signal); // pages are touched and code compiled on first use
        const prefill: { tokens: number; tokensPerSecond: Spread }[] = [];
        for (const tokens of prompts) prefill.push({ tokens, tokensPerSecond: (await speeds(model, tokens, 1, repeat, signal)).read });
        const { write } = await speeds(model, decodePrompt, written + 1, repeat, signal);
        const { device, dtypes } = model;
        const memory = { ...model.memory(), peakBytes: process.resourceUsage().maxRSS * 1024 };
        if (flags.json) {
          const decode = { tokens: written, tokensPerSecond: write };
          terminal.stdout.write(`${JSON.stringify({ model: source, device, dtypes, loadMs, memory, prefill, decode })}\n`);
          return 0;
        }
        const { bold, dim } = coloursFor(terminal.stdout, terminal);
        const line = (what: string, { median, min, max }: Spread) =>
          `  ${what.padEnd(12)}${bold(short(median).padStart(8))} tokens/s ${dim(`[${short(min)} … ${short(max)}]`)}\n`;
        terminal.stdout.write(`${bold(source)}  ${dtypes[0]} weights, ${device.name}, ${counted(device.threads, "thread")}\n`);
        for (const why of [...(device.passedOver ?? []), ...(device.notTried ?? [])]) terminal.stdout.write(dim(`  ${why}\n`));
        for (const { tokens, tokensPerSecond } of prefill) terminal.stdout.write(line(`read ${tokens}`, tokensPerSecond));
        terminal.stdout.write(line(`write ${written}`, write));
        const { weightBytes, mappedBytes = 0, stateBytes, peakBytes } = memory;
        const mapped = mappedBytes > 0 ? ` (${bytesText(mappedBytes)} mapped)` : "";
        terminal.stdout.write(
          `  load ${(loadMs / 1000).toFixed(2)} s, weights ${bytesText(weightBytes)}${mapped}, states ${bytesText(stateBytes)}, process at most ${bytesText(peakBytes)}\n`,
        );
        return 0;
      } finally {
        await model.dispose();
      }
    });
  },
};

interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Reads `tokens` and writes `count`, `repeat` times. In tokens per second: those read, and those written after the first. */
async function speeds(
  model: JambaModel,
  tokens: number,
  count: number,
  repeat: number,
  signal: AbortSignal,
): Promise<{ read: Spread; write: Spread }> {
  const randomId = () => Math.floor(Math.random() * model.config.vocabSize);
  const [read, write]: number[][] = [[], []];
  for (let round = 0; round < repeat; round++) {
    const logitBias: Record<number, number> = { [randomId()]: 1e9 };
    // The bias, not the model, says what the next step draws.
    const onToken = () => {
      for (const id of Object.keys(logitBias)) delete logitBias[Number(id)];
      logitBias[randomId()] = 1e9;
    };
    const prompt = Array.from({ length: tokens }, randomId);
    const options = { maxTokens: count, temperature: 0, repetitionPenalty: 1, ignoreEos: true, logitBias, onToken, signal };
    const { timings } = await model.generate(prompt, options);
    signal.throwIfAborted();
    read.push((tokens * 1000) / timings.firstTokenMs);
    write.push(timings.tokensPerSecond);
  }
  return { read: spreadOf(read), write: spreadOf(write) };
}

function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return { median: (low + high) / 2, min: sorted[0], max: sorted[sorted.length - 1] };
}

const short = (speed: number) => (speed >= 100 ? speed.toFixed(0) : speed.toPrecision(3));

function count(flag: string, found: number): number {
  if (!Number.isSafeInteger(found) || found < 1) throw new UsageError(`${flag}: expected a positive integer, found ${found}`);
  return found;
}
