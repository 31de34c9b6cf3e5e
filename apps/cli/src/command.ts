// What a command is given, and what most of them do first.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Tokenizer } from "jamba";
import { UsageError } from "./errors.ts";
import type { Flags } from "./flags.ts";
import type { Interrupts } from "./interrupts.ts";
import type { Io, Output } from "./io.ts";

export interface CommandInput {
  readonly io: Io;
  readonly flags: Flags;
  readonly positionals: readonly string[];
  readonly interrupts: Interrupts;
  readonly output: Output;
}

/** Returns its exit code if that is not 0. */
export type Command = (input: CommandInput) => Promise<number | undefined>;

/** Splits [MODEL] [TEXT…]: whether the first is a model is told by its looks where the count leaves it open. */
export function modelAndTexts(
  positionals: readonly string[],
  maxTexts: number,
  usage: string,
): { model: string; texts: readonly string[] } {
  if (positionals.length > maxTexts + 1) {
    throw new UsageError(`${usage}: found ${positionals.length} arguments; put quotes around a text with spaces`);
  }
  const [first, ...others] = positionals;
  if (first === undefined) return { model: "tiny", texts: [] };
  const isModel = positionals.length > maxTexts || looksLikeModel(first);
  return isModel ? { model: first, texts: others } : { model: "tiny", texts: positionals };
}

export function looksLikeModel(text: string): boolean {
  const spelled = text === "tiny" || /^https?:\/\/|^\.{0,2}\/|\.(gguf|safetensors)$|^[\w.-]+\/[\w.-]+$/i.test(text);
  return spelled || (text !== "" && existsSync(text));
}

/** What `loadModel` and `openCheckpoint` take: tiny is a package that comes with this one. */
export function sourceOf(model: string): string {
  return model === "tiny" ? dirname(createRequire(import.meta.url).resolve("@jamba/tiny-model/package.json")) : model;
}

/** Time for a parent that leaves our stdin open to begin writing. */
const patienceMs = 1000;

/**
 * All of a piped stdin, less the newline that `echo` adds; undefined for a terminal or nothing.
 * `mayGiveUp`: the caller can do without, so a stdin that stays silent must not hang it.
 */
export async function readPiped({ io, interrupts: { signal } }: CommandInput, mayGiveUp: boolean): Promise<string | undefined> {
  if (io.stdin.isTTY) return undefined;
  const chunks: Buffer[] = [];
  const whole = (async () => {
    for await (const chunk of io.stdin.iterator({ destroyOnReturn: false })) chunks.push(Buffer.from(chunk));
  })();
  const stopped = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  stopped.catch(() => undefined);
  if (mayGiveUp && io.stdinMayStayOpen) {
    await Promise.race([whole, sleep(patienceMs, undefined, { ref: true }), stopped]);
    if (chunks.length === 0) return undefined;
  }
  await Promise.race([whole, stopped]);
  return (
    Buffer.concat(chunks)
      .toString("utf8")
      .replace(/\r?\n$/, "") || undefined
  );
}

/** How a token reads in a listing: text in quotes, bytes and special tokens by name. */
export function showToken(tokenizer: Tokenizer | undefined, id: number): string {
  const token = tokenizer?.tokenOf(id);
  if (!tokenizer || token === undefined) return "";
  if (tokenizer.isSpecial(id)) return token;
  const piece = tokenizer.pieceOf(id);
  return typeof piece === "string" ? JSON.stringify(piece) : token;
}
