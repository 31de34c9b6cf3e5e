import type { JambaModel } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags, numberFlag, textOf, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { asQuestion, isRight, parseLines, type Question } from "../questions.ts";
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
  words: "[MODEL] FILE …",
  summary: "how many questions it answers rightly",
  about: `A line of FILE is a question in JSON, of one of three forms:
{ prompt, continuation }               how probable the continuation is
{ prompt, continuations, answer: 0 }   right if that one is the most probable
                                       for its length in characters
{ prompt | messages, maxTokens, check, expected }  right if what it writes is;
                                       check: contains, all, exact or json
Each may name its task; there is a line in the table for each task.`,
  flags: {
    limit: { type: "string", value: "N", fallback: "all", help: "only the first N questions of each file" },
    ...commonFlags,
  },
  notes: "The small model's own questions are tooling/tiny-model/eval/questions.jsonl.",

  async run({ flags, words }, terminal) {
    // A file may look like a model, but a model is not named .jsonl.
    const files = words[0]?.endsWith(".jsonl") ? words : words.slice(1);
    const source = files === words ? "tiny" : await modelOf(words[0]);
    if (files.length === 0) throw new UsageError("eval: expected a file of questions, found none; see jamba eval --help");
    const limit = numberFlag(flags, "limit") ?? Number.MAX_SAFE_INTEGER;
    if (!Number.isSafeInteger(limit) || limit < 1) throw new UsageError(`--limit: expected a positive integer, found ${limit}`);
    const questions: (Question | Choice)[] = [];
    for (const file of files) questions.push(...parseLines(file, await textOf("eval", file), read).slice(0, limit));
    return withModel(source, flags, terminal, async (model, signal) => {
      const outcomes: Outcome[] = [];
      for (let from = 0; from < questions.length; from += together) {
        outcomes.push(...(await Promise.all(questions.slice(from, from + together).map((question) => outcomeOf(model, question, signal)))));
        if (!flags.quiet && !flags.json) progress(outcomes.length, questions.length, terminal);
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

function progress(done: number, all: number, { stderr }: Terminal): void {
  if (stderr.isTTY) stderr.write(`\r  ${done} of ${all}${done === all ? "\r\u001b[K" : ""}`);
}
