import type { Message, WrappedTool } from "jamba";

export interface Question {
  readonly task: string;
  readonly prompt?: string;
  readonly messages?: Message[];
  readonly tools?: WrappedTool[];
  readonly documents?: unknown[];
  readonly knobs?: Record<string, unknown>;
  readonly check: string;
  readonly expected: unknown;
  readonly maxTokens: number;
}

export interface Answer {
  readonly task: string;
  readonly passed: boolean;
}

export interface Score {
  readonly task: string;
  readonly count: number;
  readonly found: number;
  readonly accuracy: number;
  readonly points: number;
}

export const questions: readonly Question[];
export const published: Readonly<Record<string, number>>;
export const mayLose: Readonly<Record<string, number>>;
export function passes(question: Question, text: string): boolean;
export function scores(answers: readonly Answer[]): Score[];
export function isFit(dtype: string, all: readonly Score[]): boolean;
