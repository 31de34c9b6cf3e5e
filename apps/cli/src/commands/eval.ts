import type { JambaModel } from "jamba";
import type { Command } from "../cli.ts";
import { ask, isTask, type Progress, prepare, rowsOf as taskRows } from "../eval/evaluate.ts";
import { KeptAnswers } from "../eval/kept-answers.ts";
import { published } from "../eval/published.ts";
import { harness } from "../eval/tasks.ts";
import { commonFlags, type FlagValues, numberFlag, textFlag, textOf, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { asQuestion, isRight, parseLines, type Question } from "../questions.ts";
import { table } from "../table.ts";
import { coloursFor, counted, type Terminal } from "../terminal.ts";
import { origin, withModel } from "../with-model.ts";

/** Which continuation a model takes for the most probable one. */
interface Choice {
  readonly task?: string;
  readonly prompt: string;
  readonly continuations: readonly string[];
  /** Which of them is right. With a single continuation there is none: only its probability counts. */
  readonly answer?: number;
}

interface Outcome {
  readonly task: string;
  readonly right?: boolean;
  /** Of the right continuation, and its tokens. */
  readonly logprob?: number;
  readonly tokens?: number;
}

/** Questions that are asked at the same time: they share steps. */
const together = 8;

export const evaluate: Command = {
  words: "[MODEL] TASK|FILE …",
  summary: "how many questions it answers rightly",
  about: `TASK: hellaswag winogrande arc piqa boolq mmlu gsm8k truthfulqa or a part
such as mmlu_anatomy, from --data; ruler needle, which are made: scored as
lm-evaluation-harness ${harness} does, with what was published of the family.
A line of FILE.jsonl is a question of your own, which may name its task:
{ prompt, continuation }               how probable the continuation is
{ prompt, continuations, answer: 0 }   right if that one is the most probable
                                       for its length in characters
{ prompt | messages, maxTokens, check, expected }  contains, all, exact, json`,
  flags: {
    limit: { type: "string", value: "N", fallback: "all", help: "the first N of each task or file" },
    data: { type: "string", value: "DIR", help: "where data sets are; see the README" },
    out: { type: "string", value: "FILE", help: "keep answers; another run goes on from it" },
    fewshot: { type: "string", value: "N", help: "solved examples before each (the task's)" },
    seed: { type: "string", value: "N", fallback: "1234", help: "draws examples and made contexts" },
    lengths: { type: "string", value: "N,N", fallback: "4096", help: "tokens of made contexts" },
    bos: { type: "boolean", help: "begin each text with the token for that" },
    ...commonFlags,
  },

  async run({ flags, words }, terminal) {
    // A file or a task may look like a model, but a model is not named so.
    const isAsked = (word: string) => word.endsWith(".jsonl") || isTask(word);
    const asked = words[0] !== undefined && isAsked(words[0]) ? words : words.slice(1);
    const source = asked === words ? "tiny" : await modelOf(words[0]);
    if (asked.length === 0) throw new UsageError("eval: expected a task or a file of questions, found none; see jamba eval --help");
    const limit = countFlag(flags, "limit");
    const isFile = (word: string) => !isTask(word) && /[./\\]/.test(word);
    if (!asked.some(isFile)) return benchmarks(source, asked, flags, terminal);
    const alone = ["data", "out", "fewshot", "seed", "lengths", "bos"].find((name) => flags[name] !== undefined);
    if (alone !== undefined) throw new UsageError(`--${alone}: expected with tasks alone, found it with a file of questions`);
    if (!asked.every(isFile)) throw new UsageError("eval: expected tasks or files of questions, found both; ask in two runs");
    const questions: (Question | Choice)[] = [];
    for (const file of asked) questions.push(...parseLines(file, await textOf("eval", file), read).slice(0, limit));
    return withModel(source, flags, terminal, async (model, signal) => {
      const outcomes: Outcome[] = [];
      for (let from = 0; from < questions.length; from += together) {
        outcomes.push(...(await Promise.all(questions.slice(from, from + together).map((question) => outcomeOf(model, question, signal)))));
        if (!flags.quiet && !flags.json) progress({ done: outcomes.length, all: questions.length }, terminal);
      }
      const tasks = [...new Set(outcomes.map(({ task }) => task))];
      const rows = [
        ...tasks.map((task) =>
          rowOf(
            task,
            outcomes.filter((one) => one.task === task),
          ),
        ),
        rowOf("all", outcomes),
      ];
      if (tasks.length === 1) rows.shift();
      if (flags.json) terminal.stdout.write(`${JSON.stringify({ model: source, rows, device: model.device })}\n`);
      else show(rows, terminal);
      if (!flags.quiet && !flags.json)
        terminal.stderr.write(`${coloursFor(terminal.stderr, terminal).dim(`  ${origin(source, model)}`)}\n`);
      return 0;
    });
  },
};

/** @param least the smallest that it may be */
function countFlag(flags: FlagValues, name: string, least = 1): number | undefined {
  const count = numberFlag(flags, name);
  if (count === undefined || (Number.isSafeInteger(count) && count >= least)) return count;
  throw new UsageError(`--${name}: expected ${least === 0 ? "an integer from 0" : "a positive integer"}, found ${count}`);
}

/** Tasks that others have too. */
async function benchmarks(source: string, names: readonly string[], flags: FlagValues, terminal: Terminal): Promise<number> {
  const lengths = (textFlag(flags, "lengths") ?? "4096").split(",").map(Number);
  if (!lengths.every((length) => Number.isSafeInteger(length) && length > 0))
    throw new UsageError(`--lengths: expected numbers of tokens such as 4096,8192, found ${JSON.stringify(flags.lengths)}`);
  const seed = countFlag(flags, "seed", 0) ?? 1234;
  if (seed >= 2 ** 32) throw new UsageError(`--seed: expected less than 2^32, found ${seed}`);
  const bos = Boolean(flags.bos);
  const settings = {
    data: textFlag(flags, "data"),
    limit: countFlag(flags, "limit"),
    fewshot: countFlag(flags, "fewshot", 0),
    seed,
    lengths,
    bos,
  };
  const kept = await KeptAnswers.open(textFlag(flags, "out"));
  const prepared = await prepare(names, settings);
  return withModel(source, flags, terminal, async (model, signal) => {
    const { device, dtypes, contextLength } = model;
    const identity = { source, backend: device.kind, dtypes, contextLength };
    const isQuiet = Boolean(flags.quiet || flags.json);
    const outcomes = await ask(model, prepared, { bos, kept, identity, signal }, (state) => {
      if (!isQuiet) progress(state, terminal);
    });
    const rows = taskRows(names, prepared, outcomes);
    const known = new Set(rows.flatMap(({ task, metric }) => [task, `${task} at ${metric}`]));
    const others = published.filter(({ task }) => known.has(task));
    if (flags.json) {
      terminal.stdout.write(`${JSON.stringify({ model: source, harness, ...settings, rows, published: others, device })}\n`);
      return 0;
    }
    const { bold, dim } = coloursFor(terminal.stdout, terminal);
    const percent = (share: number | undefined) => (share === undefined ? "" : (100 * share).toFixed(2));
    const cells = rows.map(({ task, shots, documents, metric, value, stderr }) =>
      [task, String(shots), String(documents), metric, percent(value), percent(stderr)].map(String),
    );
    terminal.stdout.write(table(["task", ">shots", ">documents", "metric", ">percent", ">± stderr"], cells, bold));
    if (others.length > 0) {
      const lines = others.map(({ task, model, shots, value, source }) => [task, model, String(shots ?? ""), value.toFixed(1), source]);
      terminal.stdout.write(`\n${dim("published, not measured here")}\n`);
      terminal.stdout.write(table(["task", "model", ">shots", ">percent", "source"], lines, bold));
    }
    if (!isQuiet) terminal.stderr.write(`${coloursFor(terminal.stderr, terminal).dim(`  ${origin(source, model)}`)}\n`);
    return 0;
  });
}

function read(line: object): Question | Choice {
  if (!("continuation" in line || "continuations" in line)) return asQuestion(line);
  const { task, prompt, continuation, continuations = [continuation], answer } = line as Choice & { continuation?: string };
  const isText = (text: unknown) => typeof text === "string" && text !== "";
  if (!isText(prompt) || !Array.isArray(continuations) || !continuations.every(isText)) throw new Error("no prompt with continuations");
  const isIndex = Number.isSafeInteger(answer) && answer! >= 0 && answer! < continuations.length;
  if (continuations.length !== 1 && !isIndex)
    throw new Error(`${counted(continuations.length, "continuation")} and no answer, which counts from 0`);
  return { task, prompt, continuations: continuations as string[], answer: continuations.length > 1 ? answer : undefined };
}

async function outcomeOf(model: JambaModel, question: Question | Choice, signal: AbortSignal): Promise<Outcome> {
  const { task = "questions" } = question;
  if ("check" in question) return { task, right: await isRight(model, question, signal) };
  const { prompt, continuations, answer } = question;
  const scores = await model.score(prompt, continuations, { signal });
  const perCharacter = scores.map(({ logprob }, i) => logprob / continuations[i].length);
  const { logprob, tokens } = scores[answer ?? 0];
  const right = answer === undefined ? undefined : perCharacter.indexOf(Math.max(...perCharacter)) === answer;
  return { task, right, logprob, tokens: tokens.length };
}

interface Row {
  readonly task: string;
  readonly questions: number;
  readonly right?: number;
  readonly accuracy?: number;
  /** Of the right continuations, all their tokens alike. */
  readonly perplexity?: number;
}

function rowOf(task: string, outcomes: readonly Outcome[]): Row {
  const judged = outcomes.filter(({ right }) => right !== undefined);
  const right = judged.filter((one) => one.right).length;
  const tokens = outcomes.reduce((sum, one) => sum + (one.tokens ?? 0), 0);
  const logprob = outcomes.reduce((sum, one) => sum + (one.logprob ?? 0), 0);
  return {
    task,
    questions: outcomes.length,
    ...(judged.length > 0 && { right, accuracy: right / judged.length }),
    ...(tokens > 0 && { perplexity: Math.exp(-logprob / tokens) }),
  };
}

function show(rows: readonly Row[], terminal: Terminal): void {
  const { bold } = coloursFor(terminal.stdout, terminal);
  const names = Math.max(4, ...rows.map(({ task }) => task.length));
  const line = (task: string, cells: readonly string[]) =>
    `${task.padEnd(names)}${cells.map((cell) => cell.padStart(11)).join("")}`.trimEnd();
  terminal.stdout.write(`${bold(line("task", ["questions", "right", "perplexity"]))}\n`);
  for (const { task, questions, accuracy, perplexity } of rows) {
    const share = accuracy === undefined ? "" : `${(100 * accuracy).toFixed(1)} %`;
    terminal.stdout.write(`${line(task, [String(questions), share, perplexity?.toFixed(4) ?? ""])}\n`);
  }
}

function progress({ done, all, leftMs }: Progress, { stderr }: Terminal): void {
  if (!stderr.isTTY) return;
  const left = leftMs === undefined ? "" : `, ${durationText(leftMs)} left`;
  stderr.write(`\r  ${done} of ${all}${left}\u001b[K${done === all ? "\r\u001b[K" : ""}`);
}

function durationText(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes === 0) return `${Math.ceil(ms / 1000)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
