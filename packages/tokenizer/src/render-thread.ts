// Conversations to text on workers: those that are long, and those whose template takes long.

import { inSlices, JambaError, type JambaErrorCode, TokenizerError } from "@jamba/core";
import type { ChatOptions } from "./chat.ts";
import type { Message } from "./messages.ts";
import type { Reply, Request } from "./render-thread-code.ts";
import code from "./render-thread-code.ts?text";

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
    const reply = await orEnd(port.reply(), signal);
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
  while (idle.length === 0 && opened >= mostWorkers) await new Promise<void>((resolve) => waiting.push(resolve));
  const found = idle.pop();
  if (found) return found;
  opened++;
  try {
    return await openWorker();
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
async function orEnd(reply: Promise<Reply>, signal: AbortSignal | undefined): Promise<Reply> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let abort: (() => void) | undefined;
  const end = new Promise<never>((_, reject) => {
    const late = () =>
      reject(new TokenizerError(`chat template: expected one that takes at most ${mostMs} ms, found one that takes longer`));
    timer = setTimeout(late, mostMs);
    abort = () => reject(signal!.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
  });
  try {
    return await Promise.race([reply, end]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort!);
  }
}

async function openWorker(): Promise<Port> {
  if (typeof process === "object" && process.versions?.node) {
    const { Worker } = await import("node:worker_threads");
    const place = `const { parentPort } = require("node:worker_threads");
const self = { postMessage: (message) => parentPort.postMessage(message), onmessage: null };
parentPort.on("message", (data) => self.onmessage({ data }));`;
    const resourceLimits = { stackSizeMb: 1, maxOldGenerationSizeMb: mostHeapMb };
    const worker = new Worker(`${place}\n${code}`, { eval: true, execArgv: [], stdout: false, resourceLimits });
    const port = portOf(
      (request) => worker.postMessage(request),
      (onReply, onError) =>
        void worker
          .on("message", onReply)
          .on("error", onError)
          .on("exit", () => onError("it ended")),
      () => void worker.terminate(),
    );
    await port.reply();
    // From here on it keeps no process from ending; a call that is under way has a timer that does.
    worker.unref();
    return port;
  }
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(url);
  const port = portOf(
    (request) => worker.postMessage(request),
    (onReply, onError) => {
      worker.onmessage = ({ data }) => onReply(data);
      worker.onerror = ({ message }) => onError(message ?? "it can't be loaded");
    },
    () => {
      worker.terminate();
      URL.revokeObjectURL(url);
    },
  );
  await port.reply();
  return port;
}

function portOf(
  post: (request: Request) => void,
  listen: (onReply: (reply: Reply) => void, onError: (error: unknown) => void) => void,
  end: () => void,
): Port {
  let failure: unknown;
  let settle: { resolve(reply: Reply): void; reject(error: unknown): void } | undefined;
  listen(
    (reply) => settle?.resolve(reply),
    (error) => {
      failure ??= error;
      settle?.reject(failed(failure));
    },
  );
  return {
    post,
    end,
    reply: () =>
      new Promise((resolve, reject) => {
        settle = { resolve, reject };
        if (failure !== undefined) reject(failed(failure));
      }),
  };
}

function failed(cause: unknown): TokenizerError {
  const found = cause instanceof Error ? cause.message : String(cause);
  return new TokenizerError(`chat template: expected one that a worker can run, found that the worker ended: ${found}`, { cause });
}
