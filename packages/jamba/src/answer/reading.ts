// What has to be asked of a tokenizer before a model reads a prompt. Written once, as generators that yield what takes long; how it is
// done is for their callers: at once, only if it is quick, or with turns for others.

import type { Tokenizer } from "@jamba/tokenizer";

export type Reading<T> = Generator<Work, T, unknown>;

/** Something that takes long for long texts, in three ways that give the same. */
interface Work {
  now(): unknown;
  /** Undefined where it takes more than some milliseconds. */
  quick(): unknown;
  later(signal: AbortSignal | undefined): Promise<unknown>;
}

/** UTF-16 units, or ids, that take some milliseconds at most. */
const quickLength = 2 ** 13;

export function* encode(tokenizer: Tokenizer, text: string, options: { addBos?: boolean } = {}): Reading<number[]> {
  const now = () => tokenizer.encode(text, options);
  const later = (signal?: AbortSignal) => tokenizer.encodeAsync(text, { ...options, signal });
  return (yield { now, later, quick: () => (text.length > quickLength ? undefined : now()) }) as number[];
}

export function* decode(tokenizer: Tokenizer, ids: readonly number[]): Reading<string> {
  const now = () => tokenizer.decode(ids);
  const later = (signal?: AbortSignal) => tokenizer.decodeAsync(ids, { signal });
  return (yield { now, later, quick: () => (ids.length > quickLength ? undefined : now()) }) as string;
}

export function* render(tokenizer: Tokenizer, ...[messages, options]: Parameters<Tokenizer["renderChat"]>): Reading<string> {
  return (yield {
    now: () => tokenizer.renderChat(messages, options),
    quick: () => tokenizer.renderQuickly(messages, options),
    later: (signal) => tokenizer.renderChatAsync(messages, options, { signal }),
  }) as string;
}

export function atOnce<T>(reading: Reading<T>): T {
  return inPlace(reading, (work) => work.now()) as T;
}

/** @returns undefined where it takes more than some milliseconds */
export function ifQuick<T>(reading: Reading<T>): T | undefined {
  return inPlace(reading, (work) => work.quick());
}

/** @param how undefined ends it */
function inPlace<T>(reading: Reading<T>, how: (work: Work) => unknown): T | undefined {
  for (let next = reading.next(); ; ) {
    if (next.done) return next.value;
    let found: unknown;
    try {
      found = how(next.value);
    } catch (error) {
      next = reading.throw(error);
      continue;
    }
    if (found === undefined) return undefined;
    next = reading.next(found);
  }
}

/** With turns for others. @throws what is wrong; the signal's reason */
export async function beside<T>(reading: Reading<T>, signal?: AbortSignal): Promise<T> {
  for (let next = reading.next(); ; ) {
    if (next.done) return next.value;
    let found: unknown;
    try {
      found = await next.value.later(signal);
    } catch (error) {
      signal?.throwIfAborted();
      next = reading.throw(error);
      continue;
    }
    signal?.throwIfAborted();
    next = reading.next(found);
  }
}
