// The AI SDK's ChatTransport to the worker that owns the model. Reads each answer to its end, whoever still looks at it.

import { type ChatTransport, readUIMessageStream } from "ai";
import type { AnswerSettings } from "../channel/service.ts";
import type { ChatMessage, UiChunk } from "../transport/index.ts";
import type { Client } from "./client.ts";

export interface WorkerTransportOptions {
  settings(): AnswerSettings;
  /**
   * Hears of the answer as it is kept, also of one that was stopped, of which the SDK takes in no more.
   * @param askedId of the message that it answers; unknown for one that this tab did not ask for
   */
  onAnswered(message: ChatMessage, askedId?: string): void;
}

export class WorkerTransport implements ChatTransport<ChatMessage> {
  readonly resumeStreamIsReplay = true;
  readonly #client: Client;
  readonly #options: WorkerTransportOptions;

  constructor(client: Client, options: WorkerTransportOptions) {
    this.#client = client;
    this.#options = options;
  }

  async sendMessages({ chatId, messages, abortSignal, body }: Parameters<ChatTransport<ChatMessage>["sendMessages"]>[0]) {
    const options = { ...this.#options.settings(), ...body };
    return this.#followed(this.#client.calls.stream("answer", { chatId, messages, options }, abortSignal), messages.at(-1)?.id);
  }

  async reconnectToStream({ chatId }: { chatId: string }) {
    if (!(await this.#client.calls.call("reconnect", { chatId }))) return null;
    return this.#followed(this.#client.calls.stream("follow", { chatId }));
  }

  #followed(answer: ReadableStream<UiChunk>, askedId?: string): ReadableStream<UiChunk> {
    const [shown, kept] = answer.tee();
    void wholeOf(kept).then((message) => message && this.#options.onAnswered(message, askedId));
    return shown;
  }
}

/** What an answer comes to; undefined where it said nothing. */
async function wholeOf(stream: ReadableStream<UiChunk>): Promise<ChatMessage | undefined> {
  const chunks: UiChunk[] = [];
  try {
    const reader = stream.getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value);
  } catch {} // the owner is gone: what there is stays
  // Once, at the end: the SDK makes a message anew with each chunk.
  const replayed = new ReadableStream<UiChunk>({
    start(controller) {
      for (const chunk of chunks) if (chunk.type !== "error" && chunk.type !== "abort") controller.enqueue(chunk);
      controller.close();
    },
  });
  let whole: ChatMessage | undefined;
  for await (const message of readUIMessageStream<ChatMessage>({ stream: replayed })) whole = message;
  return whole?.parts.some(({ type }) => type !== "step-start") ? whole : undefined;
}
