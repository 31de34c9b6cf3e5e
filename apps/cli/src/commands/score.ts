import { type JambaModel, type LoadOptions, type LoadProgress, loadModel } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags, type FlagValues, loadOptions, textFlag, textOf, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { isRight, parseQuestions, type Question } from "../questions.ts";
import { bytesText, coloursFor, interruptible, loadBar, type Terminal } from "../terminal.ts";
import { origin, shortRun } from "../with-model.ts";

/** Tokens that are read as one text; each such window begins anew. */
const windowTokens = 512;

export const score: Command = {
  words: "[MODEL …]",
  summary: "what fewer bits cost in perplexity, answers",
  about: `With --file or --questions: a line for each MODEL and --dtype (auto,q8,q4),
with its bytes. With --prompt and --continuation: the log probability of the
one after the other, per token, the sum, and the perplexity; of several
continuations a line each, and the prompt is read once.`,
  flags: {
    file: { type: "string", value: "FILE", help: `the perplexity on a text, in windows of ${windowTokens}` },
    questions: {
      type: "string",
      value: "FILE",
      help: "how many of these it answers rightly; the small model's are in tooling/tiny-model/eval",
    },
    prompt: { type: "string", value: "TEXT", help: "what stands before" },
    continuation: { type: "string", value: "TEXT", multiple: true, help: "what is scored; may be given again" },
    ...commonFlags,
  },

  async run({ flags, words }, terminal) {
    if (flags.file !== undefined || flags.questions !== undefined) return compare(flags, words, terminal);
    const source = await modelOf(words[0]);
    const prompt = textFlag(flags, "prompt");
    const continuations = (flags.continuation ?? []) as string[];
    if (prompt === undefined || continuations.length === 0 || continuations.includes("") || words.length > 1) {
      throw new UsageError(
        "score: expected a model, --prompt and --continuation (or --file, or --questions), found something else; see jamba score --help",
      );
    }
    const bar = loadBar(terminal, !(flags.quiet || flags.json));
    const model = await loadModel(source, { ...loadOptions(flags, terminal), ...shortRun, onProgress: bar.onProgress }).finally(bar.stop);
    try {
      const scores = await model.score(prompt, continuations);
      const found = scores.map(({ logprob, tokens }) => ({
        logprob,
        perplexity: Math.exp(-logprob / tokens.length),
        tokens: tokens.map(({ id, text, logprob }) => ({ id, logprob, token: model.tokenizer.tokenOf(id), text })),
      }));
      const [only, ...others] = found;
      if (flags.json) {
        const document =
          others.length === 0 ? only : { continuations: found.map((one, i) => ({ continuation: continuations[i], ...one })) };
        terminal.stdout.write(`${JSON.stringify({ ...document, device: model.device })}\n`);
        return 0;
      }
      const { bold } = coloursFor(terminal.stdout, terminal);
      if (!flags.quiet) terminal.stderr.write(`${coloursFor(terminal.stderr, terminal).dim(`  ${origin(source, model)}`)}\n`);
      const number = (logprob: number) => logprob.toFixed(4).padStart(10);
      if (others.length > 0) {
        for (const [i, { logprob, perplexity }] of found.entries())
          terminal.stdout.write(`${bold(number(logprob))}  perplexity ${perplexity.toFixed(3)}  ${JSON.stringify(continuations[i])}\n`);
        return 0;
      }
      for (const { token, logprob } of only.tokens) terminal.stdout.write(`${number(logprob)}  ${JSON.stringify(token)}\n`);
      terminal.stdout.write(`${bold(number(only.logprob))}  sum, perplexity ${only.perplexity.toFixed(3)}\n`);
      return 0;
    } finally {
      await model.dispose();
    }
  },
};

interface Row {
  readonly model: string;
  /** As it was asked for. */
  readonly dtype: string;
  /** As the weights are held, the one of most numbers first. */
  readonly dtypes: readonly string[];
  /** Of the weights' files. */
  readonly fileBytes: number;
  readonly weightBytes: number;
  readonly perplexity?: number;
  readonly right?: number;
  readonly questions?: number;
}

async function compare(flags: FlagValues, words: readonly string[], terminal: Terminal): Promise<number> {
  if (flags.prompt !== undefined || flags.continuation !== undefined)
    throw new UsageError("score: expected --prompt or --file and --questions, found both");
  const [file, asking] = [textFlag(flags, "file"), textFlag(flags, "questions")];
  const text = file === undefined ? undefined : await textOf("--file", file);
  if (text === "") throw new UsageError("--file: expected a text, found an empty file");
  const questions = asking === undefined ? undefined : parseQuestions("--questions", await textOf("--questions", asking));
  const models = words.length > 0 ? await Promise.all(words.map(modelOf)) : ["tiny"];
  const dtypes = (textFlag(flags, "dtype") ?? "auto").split(",") as NonNullable<LoadOptions["dtype"]>[];
  const rows: Row[] = [];
  const table = tableOf(terminal, models, { text, questions });
  return interruptible(terminal, async (signal) => {
    for (const model of models) {
      for (const dtype of dtypes) {
        const bar = loadBar(terminal, !(flags.quiet || flags.json));
        const options = { ...loadOptions(flags, terminal), ...shortRun, dtype, signal, onProgress: bar.onProgress };
        const row = await rowOf(model, options, text, questions).finally(bar.stop);
        rows.push(row);
        if (!flags.json) terminal.stdout.write(table(row, rows.length === 1));
      }
    }
    if (flags.json) terminal.stdout.write(`${JSON.stringify({ rows })}\n`);
    return 0;
  });
}

async function rowOf(source: string, options: LoadOptions, text?: string, questions?: readonly Question[]): Promise<Row> {
  let fileBytes = 0;
  const onProgress = (progress: LoadProgress) => {
    fileBytes = progress.totalBytes; // of the last thing that is done: reading them
    options.onProgress?.(progress);
  };
  const model = await loadModel(source, { ...options, onProgress });
  try {
    const { dtypes } = model;
    const row = { model: source, dtype: options.dtype!, dtypes, fileBytes, weightBytes: model.memory().weightBytes };
    const perplexity = text === undefined ? undefined : await perplexityOf(model, text, options);
    if (!questions) return { ...row, perplexity };
    let right = 0;
    for (const [i, question] of questions.entries()) {
      if (await isRight(model, question, options.signal)) right++;
      report(options, "asking", i + 1, questions.length);
    }
    return { ...row, perplexity, right, questions: questions.length };
  } finally {
    await model.dispose();
  }
}

async function perplexityOf(model: JambaModel, text: string, options: LoadOptions): Promise<number> {
  const { tokenizer, contextLength } = model;
  const ids = tokenizer.encode(text);
  const step = Math.min(windowTokens, contextLength) - 1;
  // Without a token that begins a text, the first one of each window is only read.
  const start = tokenizer.addBos ? [tokenizer.bosId!] : [];
  let [sum, count] = [0, 0];
  for (let from = 0; from < ids.length; from += step) {
    const window = [...start, ...ids.slice(from, from + step)];
    if (window.length < 2) break;
    const { logprob, tokens } = await model.score(window.slice(0, 1), window.slice(1), { signal: options.signal });
    sum += logprob;
    count += tokens.length;
    report(options, "reading", Math.min(ids.length, from + step), ids.length);
  }
  if (count === 0) throw new UsageError("--file: expected a text of two tokens at least, found fewer");
  return Math.exp(-sum / count);
}

function report({ onProgress }: LoadOptions, what: string, done: number, total: number): void {
  onProgress?.({ phase: "load", doneBytes: done, totalBytes: total, file: what } satisfies LoadProgress);
}

/** @returns what prints a row, and before the first one the names of the columns */
function tableOf(terminal: Terminal, models: readonly string[], given: { text?: string; questions?: readonly Question[] }) {
  const { bold } = coloursFor(terminal.stdout, terminal);
  const columns: [name: string, width: number, cell: (row: Row) => string][] = [
    ["model", Math.max(5, ...models.map((model) => model.length)), ({ model }) => model],
    ["held as", 16, ({ dtypes }) => dtypes.filter((dtype) => dtype !== "f32" || dtypes.length === 1).join(" ")],
    ["file", 9, ({ fileBytes }) => bytesText(fileBytes)],
    ["memory", 9, ({ weightBytes }) => bytesText(weightBytes)],
  ];
  if (given.text !== undefined) columns.push(["perplexity", 10, ({ perplexity }) => perplexity!.toFixed(4)]);
  if (given.questions !== undefined) columns.push(["right", 10, ({ right, questions }) => `${right} of ${questions}`]);
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (i < 2 ? cell.padEnd(columns[i][1]) : cell.padStart(columns[i][1])))
      .join("  ")
      .trimEnd();
  return (row: Row, first: boolean) =>
    `${first ? `${bold(line(columns.map(([name]) => name)))}\n` : ""}${line(columns.map(([, , cell]) => cell(row)))}\n`;
}
