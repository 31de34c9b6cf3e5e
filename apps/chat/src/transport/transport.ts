// The AI SDK's ChatTransport over a model in the same program: `useChat({ transport: new JambaTransport(model) })`.

import type { ChatTransport } from "ai";
import type { GenerateOptions, Message, TextStream } from "jamba";
import { AnswerLog } from "./answer-log.ts";
import { type ChatMessage, toJambaMessages } from "./messages.ts";
import { type UiChunk, uiChunks } from "./ui-chunks.ts";

/** What answers: a `JambaModel`, or anything that streams as it does. */
export interface Answering {
  // biome-ignore lint/suspicious/noExplicitAny: tools of any arguments, as jamba itself takes them
  stream(messages: readonly Message[], options: GenerateOptions<unknown, any>): TextStream;
}

// biome-ignore lint/suspicious/noExplicitAny: the same
export type AnswerOptions = Omit<GenerateOptions<unknown, any>, "signal" | "n">;

/**
 * A chat's `stop` ends the answer with what there is; the SDK takes in nothing that comes after it, so such a message has the metadata of its
 * beginning. `resumeStream` finds an answer that is still being written, from its
 * beginning, as long as this object lives: keep it outside of components that come and go.
 *
 * What a request's `body` has by the names of `GenerateOptions` goes before `options`.
 */
export class JambaTransport implements ChatTransport<ChatMessage> {
  /** `resumeStream` begins anew: a chat drops what it has of the answer. */
  readonly resumeStreamIsReplay = true;
  readonly #model: Answering | (() => Answering | Promise<Answering>);
  readonly #options: AnswerOptions;
  #loading: Promise<Answering> | undefined;
  readonly #answers = new Map<string, AnswerLog>();

  /** @param model or what loads it, when the first message is sent */
  constructor(model: Answering | (() => Answering | Promise<Answering>), options: AnswerOptions = {}) {
    this.#model = model;
    this.#options = options;
  }

  async sendMessages(request: Parameters<ChatTransport<ChatMessage>["sendMessages"]>[0]): Promise<ReadableStream<UiChunk>> {
    const { chatId, messages, abortSignal, body } = request;
    const model = await this.#loaded();
    abortSignal?.throwIfAborted();
    const options = { ...this.#options, ...body, signal: abortSignal };
    const answer = new AnswerLog(uiChunks(model.stream(toJambaMessages(messages), options), { messageId: crypto.randomUUID() }));
    this.#answers.set(chatId, answer);
    void answer.done.then(() => {
      if (this.#answers.get(chatId) === answer) this.#answers.delete(chatId);
    });
    return answer.stream();
  }

  /** Once, unless that failed. */
  #loaded(): Promise<Answering> {
    this.#loading ??= Promise.resolve(typeof this.#model === "function" ? this.#model() : this.#model).catch((error) => {
      this.#loading = undefined;
      throw error;
    });
    return this.#loading;
  }

  async reconnectToStream({ chatId }: { chatId: string }): Promise<ReadableStream<UiChunk> | null> {
    return this.#answers.get(chatId)?.stream() ?? null;
  }
}
