// Answers as JSON. Long ones are written piece by piece, as fast as they are read: as one text they would hold the process for seconds, and
// take several times their memory.

import type { Context } from "hono";
import { ownTurn } from "./line.ts";

/** A list whose items are made when they are written: each once, in order. */
export class LazyList {
  constructor(
    readonly length: number,
    readonly itemAt: (index: number) => unknown,
  ) {}

  toJSON(): unknown[] {
    return Array.from({ length: this.length }, (_, i) => this.itemAt(i));
  }
}

export function lazily<T>(items: readonly T[], make: (item: T) => unknown): LazyList {
  return new LazyList(items.length, (i) => make(items[i]));
}

/** Characters of a piece, which take about a millisecond. */
const pieceLength = 2 ** 15;

/** With a length where it is short. */
export function sendJson(c: Context, value: object): Response {
  const pieces = piecesOf(value);
  const first = pieces.next();
  const second = first.done ? first : pieces.next();
  const headers = { "content-type": "application/json" };
  if (second.done) return c.body(first.done ? "" : first.value, 200, headers);
  const encoder = new TextEncoder();
  const waiting = [first.value as string, second.value];
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const piece = waiting.shift();
      const next = piece === undefined ? pieces.next() : undefined;
      if (next?.done) return controller.close();
      controller.enqueue(encoder.encode(piece ?? (next!.value as string)));
      await ownTurn();
    },
  });
  return c.body(body, 200, headers);
}

/** What JSON.stringify gives, cut anywhere. */
export function* piecesOf(value: object): Generator<string, void> {
  let text = "";
  for (const part of partsOf(value)) {
    text += part;
    if (text.length < pieceLength) continue;
    yield text;
    text = "";
  }
  if (text !== "") yield text;
}

/** Lists and texts that are shorter are written at once, with all that is in them. */
const longList = 256;

function* partsOf(value: unknown): Generator<string, void> {
  if (typeof value === "string" && value.length > pieceLength) yield* partsOfText(value);
  else if (value instanceof LazyList) yield* partsOfList(value.length, value.itemAt);
  else if (isLongOfNumbers(value)) yield* partsOfNumbers(value);
  else if (Array.isArray(value) && value.length > 0) yield* partsOfList(value.length, (i) => value[i]);
  else if (isPlain(value)) {
    yield "{";
    let isFirst = true;
    for (const [key, item] of Object.entries(value)) {
      if (item === undefined) continue;
      yield `${isFirst ? "" : ","}${JSON.stringify(key)}:`;
      isFirst = false;
      yield* partsOf(item);
    }
    yield "}";
  } else yield JSON.stringify(value) ?? "null";
}

function* partsOfList(length: number, itemAt: (index: number) => unknown): Generator<string, void> {
  yield "[";
  for (let i = 0; i < length; i++) {
    if (i > 0) yield ",";
    const item = itemAt(i);
    // Of long lists the items are short: numbers, or a token with its alternatives.
    if (length > longList && typeof item !== "string") yield JSON.stringify(item) ?? "null";
    else yield* partsOf(item);
  }
  yield "]";
}

function isLongOfNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length > longList && typeof value[0] === "number";
}

function* partsOfNumbers(numbers: readonly number[]): Generator<string, void> {
  for (let at = 0; at < numbers.length; at += longList)
    yield (at === 0 ? "[" : ",") + JSON.stringify(numbers.slice(at, at + longList)).slice(1, -1);
  yield "]";
}

function* partsOfText(text: string): Generator<string, void> {
  yield '"';
  for (let at = 0; at < text.length; ) {
    let end = at + pieceLength;
    if ((text.charCodeAt(end) & 0xfc00) === 0xdc00) end++;
    yield JSON.stringify(text.slice(at, end)).slice(1, -1);
    at = end;
  }
  yield '"';
}

function isPlain(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !("toJSON" in value);
}
