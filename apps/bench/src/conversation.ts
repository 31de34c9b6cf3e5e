// Conversations of random tokens, in the frame that a chat template would give them. What is said is the same on both sides.

import { firstTextId } from "./gguf-parts.ts";
import type { Random } from "./random.ts";

export const beginId = 1;
/** Ends each message: the stop id of both sides' files. */
export const endId = 2;

const roles = ["system", "user", "assistant"] as const;
export type Role = (typeof roles)[number];
const roleId = (role: Role) => firstTextId + roles.indexOf(role);

/** What the template puts before an answer. */
export const answerStart: readonly number[] = [roleId("assistant")];

/** A prompt, and what the model is made to say to it. */
export interface Request {
  readonly ids: readonly number[];
  readonly answer: readonly number[];
}

export interface Writer {
  /** Neither role nor end of a message. */
  text(tokens: number): number[];
  /** A message of so many tokens, with its frame. */
  message(role: Role, tokens: number): number[];
  /** So many tokens to say, the end among them. */
  answer(tokens: number): number[];
}

export function writerOf(random: Random, vocabSize: number): Writer {
  const first = firstTextId + roles.length;
  const text = (tokens: number) => Array.from({ length: tokens }, () => first + Math.floor(random() * (vocabSize - first)));
  return {
    text,
    message: (role, tokens) => [roleId(role), ...text(tokens - 2), endId],
    answer: (tokens) => [...text(tokens - 1), endId],
  };
}
