// Workers whose code is a text in the build, so that no bundler has to find a file.

import { fromNode, hasNode } from "./from-node.ts";

/** A worker of any place where JavaScript runs; its code has `self.postMessage` and `self.onmessage`, as in a page. */
export interface ThreadPort<Sent, Heard> {
  post(message: Sent): void;
  listen(onMessage: (message: Heard) => void, onError: (error: unknown) => void): void;
  /** From here on it keeps no process from ending: whoever waits for it wakes it, or has a timer that does. */
  rest(): void;
  /** It keeps its process from ending again. */
  wake(): void;
  /** Resolves when nothing of it runs any more. */
  end(): Promise<unknown>;
}

/** In place of what pages have. */
const inNode = `const { parentPort } = require("node:worker_threads");
const self = { postMessage: (message) => parentPort.postMessage(message), onmessage: null };
parentPort.on("message", (data) => self.onmessage({ data }));`;

/**
 * @param mostHeapMb of the worker, where the place can bound it
 * @throws where no worker can be had, as in a page whose policy forbids them
 */
export async function openThread<Sent, Heard>(
  code: string,
  { mostHeapMb }: { readonly mostHeapMb?: number } = {},
): Promise<ThreadPort<Sent, Heard>> {
  if (hasNode()) {
    const { Worker } = await fromNode<typeof import("node:worker_threads")>("node:worker_threads");
    // The engine's own stack ends before that in memory does, and with an error.
    const resourceLimits = { stackSizeMb: 1, ...(mostHeapMb !== undefined && { maxOldGenerationSizeMb: mostHeapMb }) };
    const worker = new Worker(`${inNode}\n${code}`, { eval: true, execArgv: [], stdout: false, resourceLimits });
    return {
      rest: () => worker.unref(),
      wake: () => worker.ref(),
      post: (message) => worker.postMessage(message),
      listen: (onMessage, onError) =>
        void worker
          .on("message", onMessage)
          .on("error", onError)
          .on("exit", () => onError(new Error("the thread ended"))),
      end: () => worker.terminate(),
    };
  }
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(url);
  return {
    rest: () => undefined,
    wake: () => undefined,
    post: (message) => worker.postMessage(message),
    listen: (onMessage, onError) => {
      worker.onmessage = ({ data }) => onMessage(data);
      worker.onerror = ({ message }) => onError(new Error(message ?? "the thread can't be loaded"));
    },
    end: async () => {
      worker.terminate();
      URL.revokeObjectURL(url);
      await new Promise((resolve) => setTimeout(resolve, 100)); // nothing tells when it has ended
    },
  };
}
