import { type JambaModel, loadModel, type Prompt, type Result } from "jamba";
import type { Command } from "../cli.ts";
import {
  commonFlags,
  type FlagValues,
  generateFlags,
  generateOptions,
  idsFlag,
  loadOptions,
  splitModel,
  textFlag,
  UsageError,
} from "../flags.ts";
import { coloursFor, loadBar, type Terminal } from "../terminal.ts";

export const run: Command = {
  help: `jamba run [MODEL] [PROMPT]: continue a text

  PROMPT may come from stdin. Words that do not look like a model (tiny, a path
  or URL, org/name) are a prompt for tiny. On a terminal it is shown first.

  --system TEXT               answer the prompt as a chat message under TEXT
  --ids 1,2,3                 the prompt as token ids
  --max-tokens, -n N          new tokens at most (1024)
  --temperature, -t T         0 is always the most probable token (0)
  --top-k K  --top-p P  --min-p P  --repetition-penalty R
  --seed, -s N                same seed, same text
  --stop TEXT                 end before TEXT; may be given several times
  --ignore-eos                go on after an end token
  --json --quiet --backend --dtype --threads --context-length --offline

  Ctrl-C ends the answer, a second one ends the program.
`,
  flags: { ...commonFlags, ...generateFlags, ids: { type: "string" }, system: { type: "string" } },

  async run({ flags, words }, terminal) {
    const { model: source, rest } = splitModel(words);
    const quiet = Boolean(flags.quiet || flags.json);
    const options = generateOptions(flags);
    const prompt = await promptOf(flags, rest, source, terminal);
    const bar = loadBar(terminal, !quiet);
    const stop = new AbortController();
    const off = terminal.onInterrupt(() => (stop.signal.aborted ? terminal.exit(130) : stop.abort(new Error("interrupted"))));
    try {
      const model = await loadModel(source, { ...loadOptions(flags), signal: stop.signal, onProgress: bar.onProgress }).finally(bar.stop);
      try {
        const stream = model.stream(prompt, { ...options, signal: stop.signal });
        if (flags.json) {
          const { text, ids, finishReason, usage, timings } = await stream.result;
          terminal.stdout.write(`${JSON.stringify({ text, ids, finishReason, usage, timings, device: model.device })}\n`);
          return finishReason === "cancelled" ? 130 : 0;
        }
        if (typeof prompt === "string" && terminal.stdout.isTTY) terminal.stdout.write(coloursFor(terminal.stdout, terminal).dim(prompt));
        for await (const { text } of stream) terminal.stdout.write(text);
        terminal.stdout.write("\n");
        const result = await stream.result;
        if (!quiet) terminal.stderr.write(`${coloursFor(terminal.stderr, terminal).dim(summary(result, model))}\n`);
        return result.finishReason === "cancelled" ? 130 : 0;
      } finally {
        await model.dispose();
      }
    } catch (error) {
      if (stop.signal.aborted) return 130;
      throw error;
    } finally {
      off();
    }
  },
};

async function promptOf(flags: FlagValues, words: readonly string[], source: string, { stdin }: Terminal): Promise<Prompt> {
  const ids = idsFlag(flags);
  if (ids) {
    if (words.length > 0) throw new UsageError("--ids: expected no prompt beside it, found one");
    return ids;
  }
  let text = words.join(" ");
  if (text === "" && !stdin.isTTY) for await (const piece of stdin) text += piece;
  text = text.replace(/\r?\n$/, "");
  if (text === "" && source === "tiny") text = "Once upon a time";
  if (text === "") throw new UsageError(`run: expected a prompt for ${source}, found none; give it as words, on stdin, or as --ids`);
  const system = textFlag(flags, "system");
  if (system === undefined) return text;
  return [
    { role: "system", content: system },
    { role: "user", content: text },
  ];
}

/** The line under an answer: what it took, and on what. */
export function summary(result: Result, { device, dtypes }: Pick<JambaModel, "device" | "dtypes">): string {
  const { usage, timings, finishReason, cacheMissReason } = result;
  const read =
    usage.cachedTokens > 0 ? `${usage.promptTokens - usage.cachedTokens} read, ${usage.cachedTokens} kept` : `${usage.promptTokens} read`;
  const speed = timings.tokensPerSecond > 0 ? `, ${timings.tokensPerSecond.toFixed(1)} tokens/s` : "";
  const miss = cacheMissReason ? `\n  read again: ${cacheMissReason}` : "";
  // The faster backends that "auto" had to pass over.
  const slow = device.features.filter((feature) => feature.includes("can't be used")).map((feature) => `\n  ${feature}`);
  const first = (timings.firstTokenMs / 1000).toFixed(2);
  return `  ${read}, ${usage.completionTokens} written (${finishReason})${speed}, first after ${first} s, ${device.kind}, ${dtypes[0]} weights${miss}${slow.join("")}`;
}
