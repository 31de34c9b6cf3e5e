// Questions with known answers: how much of what a model can do is left in fewer bits.

import { isDeepStrictEqual } from "node:util";
import type { JambaModel, Message, WrappedTool } from "jamba";
import { UsageError } from "./flags.ts";

/** A line of `tooling/tiny-model/eval/questions.jsonl`, whose README says what the checks mean. */
export interface Question {
  readonly task: string;
  readonly prompt?: string;
  readonly messages?: readonly Message[];
  readonly tools?: readonly WrappedTool[];
  readonly documents?: readonly unknown[];
  readonly knobs?: Readonly<Record<string, unknown>>;
  readonly maxTokens: number;
  readonly check: "contains" | "all" | "exact" | "json";
  readonly expected: unknown;
}

/** @throws UsageError naming the line that is none */
export function parseQuestions(from: string, text: string): Question[] {
  return parseLines(from, text, asQuestion);
}

/** A line of JSON each. @throws UsageError naming the line that `read` throws for */
export function parseLines<T>(from: string, text: string, read: (line: object) => T): T[] {
  const lines = [...text.split("\n").entries()].filter(([, line]) => line.trim() !== "");
  if (lines.length === 0) throw new UsageError(`${from}: expected a question in each line, found none`);
  return lines.map(([i, line]) => {
    try {
      const found: unknown = JSON.parse(line);
      if (typeof found !== "object" || found === null) throw new Error("no object");
      return read(found);
    } catch (cause) {
      throw new UsageError(`${from}: line ${i + 1}: expected a question in JSON, found ${(cause as Error).message}`);
    }
  });
}

export function asQuestion(line: object): Question {
  const question = line as Question;
  if (!Object.hasOwn(checks, question.check) || (question.prompt ?? question.messages) === undefined) throw new Error("no check or prompt");
  return question;
}

const checks: Readonly<Record<Question["check"], (answer: string, expected: never) => boolean>> = {
  contains: (answer, parts: readonly string[]) => parts.some((part) => answer.includes(part)),
  all: (answer, parts: readonly string[]) => parts.every((part) => answer.includes(part)),
  exact: (answer, expected: string) => answer === expected,
  json(answer, expected: unknown) {
    try {
      return isDeepStrictEqual(JSON.parse(answer), expected);
    } catch {
      return false;
    }
  },
};

/** Asks for the most probable answer. @returns whether it is right */
export async function isRight(model: JambaModel, question: Question, signal?: AbortSignal): Promise<boolean> {
  const { prompt, messages, maxTokens, tools, documents, knobs, check, expected } = question;
  const { text } = await model.generate(prompt ?? messages!, { maxTokens, temperature: 0, tools, documents, knobs, signal });
  signal?.throwIfAborted();
  return checks[check](text.trim(), expected as never);
}
