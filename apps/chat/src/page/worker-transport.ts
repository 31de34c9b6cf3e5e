// The AI SDK's ChatTransport to the worker that owns the model. Reads each answer to its end, whoever still looks at it.

import type { ChatTransport } from "ai";
import type { AnswerSettings } from "../channel/service.ts";
import type { ChatMessage, UiChunk } from "../transport/index.ts";
import { wholeOf } from "../transport/whole-message.ts";
import type { Client } from "./client.ts";

export interface WorkerTransportOptions {
  settings(): AnswerSettings;
  /**
   * Hears of the answer as it is kept, also of one that was stopped, of which the SDK takes in no more.
   * @param askedId of the message that it answers
   */
  onAnswered(message: ChatMessage, askedId: string | undefined): void;
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
    const found = await this.#client.calls.call("reconnect", { chatId });
    return found ? this.#followed(this.#client.calls.stream("follow", { chatId }), found.askedId) : null;
  }

  #followed(answer: ReadableStream<UiChunk>, askedId?: string): ReadableStream<UiChunk> {
    const [shown, kept] = answer.tee();
    void read(kept).then((chunks) => {
      const message = wholeOf(chunks);
      if (message) this.#options.onAnswered(message, askedId);
    });
    return shown;
  }
}

async function read(stream: ReadableStream<UiChunk>): Promise<UiChunk[]> {
  const chunks: UiChunk[] = [];
  try {
    const reader = stream.getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value);
  } catch {} // the owner is gone: what there is stays
  return chunks;
}
