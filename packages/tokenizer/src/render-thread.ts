// Conversations to text on workers: those that are long, and those whose template takes long.

import { inSlices, JambaError, type JambaErrorCode, openThread, TokenizerError, unlessAborted } from "@jamba/core";
import type { ChatOptions } from "./chat.ts";
import type { Message } from "./messages.ts";
import type { Reply, Request } from "./render-thread-code.ts";

/** Whatever a template does takes a few seconds, see `jinja/budget.ts`; a worker that takes longer is ended. */
const mostMs = 30_000;
/** Of a worker's heap: several times what the longest conversations take. */
const mostHeapMb = 1024;
const mostWorkers = 2;

interface Port {
  post(request: Request): void;
  /** The next one. */
  reply(): Promise<Reply>;
  end(): void;
}

/** Workers that do nothing, and calls that wait for one. */
const idle: Port[] = [];
const waiting: (() => void)[] = [];
let opened = 0;

/** No worker can be had here, as in a page whose policy forbids them. */
export class NoWorkers extends Error {}

/** @throws NoWorkers; what `renderChat` throws; the signal's reason */
export async function renderOnWorker(
  messages: readonly Message[],
  { tools, documents, tokenizer: _, ...options }: ChatOptions,
  signal?: AbortSignal,
): Promise<string> {
  const port = await take(signal);
  let isWhole = false;
  try {
    await inSlices(postAll(port, { messages, tools: tools ?? undefined, documents: documents ?? undefined }), signal);
    port.post({ options });
    const reply = await replyOf(port, signal);
    isWhole = true;
    if ("text" in reply) return reply.text;
    const { code, message } = (reply as Extract<Reply, { error: object }>).error;
    throw code === "TOKENIZER" ? new TokenizerError(message) : new JambaError(code as JambaErrorCode, message);
  } finally {
    if (isWhole) idle.push(port);
    else {
      port.end();
      opened--;
    }
    waiting.shift()?.();
  }
}

async function take(signal: AbortSignal | undefined): Promise<Port> {
  signal?.throwIfAborted();
  while (idle.length === 0 && opened >= mostWorkers) {
    let turn!: () => void;
    const hasTurn = new Promise<void>((resolve) => {
      turn = resolve;
      waiting.push(turn);
    });
    await unlessAborted(() => hasTurn, signal).catch((error) => {
      const at = waiting.indexOf(turn);
      if (at >= 0) waiting.splice(at, 1);
      // It had the turn already, which is the next one's.
      else waiting.shift()?.();
      throw error;
    });
  }
  const found = idle.pop();
  if (found) return found;
  opened++;
  try {
    return await openPort();
  } catch (cause) {
    opened--;
    waiting.shift()?.();
    throw new NoWorkers(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** Items that are copied between two yields. */
const partItems = 128;

function* postAll(
  port: Port,
  lists: Readonly<Partial<Record<"messages" | "tools" | "documents", readonly unknown[]>>>,
): Generator<void, void> {
  for (const [list, all] of Object.entries(lists) as [keyof typeof lists, readonly unknown[] | undefined][])
    for (let at = 0; all && (at < all.length || at === 0); at += partItems) {
      port.post({ list, items: all.slice(at, at + partItems) });
      yield;
    }
}

/** @throws the signal's reason or, after too long, TokenizerError; the worker has to be ended then */
async function replyOf(port: Port, signal: AbortSignal | undefined): Promise<Reply> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    const found = new TokenizerError(`chat template: expected one that takes at most ${mostMs} ms, found one that takes longer`);
    timer = setTimeout(() => reject(found), mostMs);
  });
  return unlessAborted(() => Promise.race([port.reply(), late]), signal).finally(() => clearTimeout(timer));
}

async function openPort(): Promise<Port> {
  // As much code as the rest of the package, and few conversations are that long.
  const { default: code } = await import("./render-thread-code.ts?text");
  const thread = await openThread<Request, Reply>(code, { mostHeapMb });
  let failure: unknown;
  let settle: { resolve(reply: Reply): void; reject(error: unknown): void } | undefined;
  thread.listen(
    (reply) => settle?.resolve(reply),
    (error) => {
      failure ??= error;
      settle?.reject(failed(failure));
    },
  );
  const reply = () =>
    new Promise<Reply>((resolve, reject) => {
      settle = { resolve, reject };
      if (failure !== undefined) reject(failed(failure));
    });
  await reply();
  thread.rest();
  return { post: thread.post, reply, end: () => void thread.end() };
}

function failed(cause: unknown): TokenizerError {
  const found = cause instanceof Error ? cause.message : String(cause);
  return new TokenizerError(`chat template: expected one that a worker can run, found that the worker ended: ${found}`, { cause });
}
