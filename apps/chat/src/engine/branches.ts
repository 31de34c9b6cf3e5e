// Sessions by the answer that they end with. Another message after that answer forks its session, so an edit and a second answer begin at
// once; what was saved is opened again without being read.

import type { JambaModel, Part, Result, Session, TextStream } from "jamba";
import type { AnswerRequest, AnswerSettings, LiveAnswer } from "../channel/service.ts";
import type { ConversationStore } from "../storage/conversations.ts";
import type { Files } from "../storage/files.ts";
import { type ChatMessage, toJambaMessages, type UiChunk, uiChunks } from "../transport/index.ts";
import { pageTools } from "./tools.ts";

/** Sessions that are held; older ones are opened from their files. */
const mostSessions = 8;
/** Files of states that are kept of each conversation. */
const mostStates = 4;

interface Held {
  readonly session: Session;
  readonly system?: string;
}

export interface BranchesOptions {
  readonly files: Files;
  readonly conversations: Pick<ConversationStore, "whileKept">;
  /** What went wrong where nobody waits for it: a state that could not be kept. */
  onError(error: unknown): void;
  /** A tool's: the page in this colour. */
  paint(colour: string): void;
}

export class Branches {
  readonly #model: JambaModel;
  readonly #options: BranchesOptions;
  /** By the id of the answer; the one least lately used first. */
  readonly #held = new Map<string, Held>();
  readonly #live = new Map<string, LiveAnswer>();
  /** Writes to one folder are made in turn. */
  #saving: Promise<unknown> = Promise.resolve();

  constructor(model: JambaModel, options: BranchesOptions) {
    this.#model = model;
    this.#options = options;
  }

  get live(): LiveAnswer[] {
    return [...this.#live.values()];
  }

  /** Resolves when what was said so far is kept. */
  get saved(): Promise<unknown> {
    return this.#saving;
  }

  async *answer({ chatId, messages, options }: AnswerRequest, answerId: string, signal: AbortSignal): AsyncGenerator<UiChunk> {
    let session: Session | undefined;
    try {
      const begun = await this.#sessionFor(chatId, messages, options.system);
      session = begun.session;
      const readBefore = session.tokens.length;
      const stream = session.stream(toJambaMessages(messages.slice(begun.known)), { ...this.#generateOptions(options), signal });
      for await (const chunk of uiChunks(this.#counted(chatId, stream), { messageId: answerId, metadata: { readBefore } }))
        yield chunk.type === "error" && (await isLost(stream)) ? { ...chunk, errorText: deviceLost } : chunk;
      if ((await stream.result.catch(() => undefined))?.ids.length) {
        this.#hold(answerId, { session, system: options.system });
        this.#save(chatId, answerId, session);
        session = undefined;
      }
    } catch (error) {
      yield { type: "error", errorText: error instanceof Error ? error.message : String(error) };
    } finally {
      this.#live.delete(chatId);
      await session?.dispose();
    }
  }

  async dispose(): Promise<void> {
    await this.#saving;
    for (const { session } of this.#held.values()) await session.dispose();
    this.#held.clear();
  }

  /** @returns a session of its own that has read the first `known` of the messages */
  async #sessionFor(chatId: string, messages: readonly ChatMessage[], system?: string): Promise<{ session: Session; known: number }> {
    for (let i = messages.length - 1; i >= 0; i--) {
      const { id, role } = messages[i];
      if (role !== "assistant") continue;
      const held = this.#held.get(id) ?? (await this.#open(chatId, id));
      if (!held || held.system !== system) continue;
      this.#hold(id, held);
      return { session: await held.session.fork(), known: i + 1 };
    }
    return { session: this.#model.session({ system }), known: 0 };
  }

  async #open(chatId: string, id: string): Promise<Held | undefined> {
    const file = await this.#options.files.read(pathOf(chatId, id));
    if (!file) return undefined;
    try {
      const session = await this.#model.openSession(file);
      const [first] = session.messages;
      return { session, system: first?.role === "system" ? String(first.content) : undefined };
    } catch (error) {
      // Of another model, or of another version: it is read again, and the answer says so.
      if ((error as { code?: string }).code !== "SESSION_MISMATCH") this.#options.onError(error);
      return undefined;
    }
  }

  #hold(id: string, held: Held): void {
    this.#held.delete(id);
    this.#held.set(id, held);
    for (const [old, { session }] of this.#held) {
      if (this.#held.size <= mostSessions) break;
      this.#held.delete(old);
      void session.dispose();
    }
  }

  #save(chatId: string, id: string, session: Session): void {
    const { files, conversations, onError } = this.#options;
    // A copy, which the next turn does not move on.
    const copy = session.fork();
    copy.catch(() => undefined); // told when its turn has come
    this.#saving = this.#saving
      .then(async () => {
        const fork = await copy;
        try {
          await conversations.whileKept(chatId, async () => {
            await files.write(
              pathOf(chatId, id),
              streamedBy((to) => fork.save(to)),
            );
            await this.#forget(chatId, id);
          });
        } finally {
          await fork.dispose();
        }
      })
      .catch(onError);
  }

  /** Removes the oldest states of a conversation, whose names sort by their time. */
  async #forget(chatId: string, newest: string): Promise<void> {
    const { files } = this.#options;
    const states = (await files.list(`conversations/${chatId}`)).map(({ path }) => path).filter((path) => path.endsWith(".state"));
    const old = states.filter((path) => path !== pathOf(chatId, newest)).sort();
    for (const path of old.slice(0, Math.max(0, old.length - mostStates + 1))) await files.remove(path);
  }

  #generateOptions({ system: _, tools, ...options }: AnswerSettings) {
    const all = pageTools(this.#options.paint);
    const chosen = Object.fromEntries(Object.entries(all).filter(([name]) => tools?.includes(name)));
    return Object.keys(chosen).length > 0 ? { ...options, tools: chosen as typeof all, maxRounds: 4 } : options;
  }

  #counted(chatId: string, stream: TextStream): Pick<TextStream, "result"> & AsyncIterable<Part> {
    const live = { chatId, promptTokens: 0, cachedTokens: 0, tokens: 0, tokensPerSecond: 0 };
    const tell = (more: Partial<LiveAnswer>) => this.#live.set(chatId, Object.assign(live, more));
    tell({});
    async function* parts() {
      let firstAt = 0;
      let before = 0;
      for await (const part of stream) {
        if (part.usage) {
          tell(part.usage);
          [firstAt, before] = [performance.now(), live.tokens + part.ids.length];
        }
        const tokens = live.tokens + part.ids.length;
        const seconds = (performance.now() - firstAt) / 1000;
        tell({ tokens, tokensPerSecond: seconds > 0 ? (tokens - before) / seconds : 0 });
        yield part;
      }
    }
    return {
      // Whoever asks for it before the parts would be its only reader.
      get result(): Promise<Result> {
        return stream.result;
      },
      [Symbol.asyncIterator]: parts,
    };
  }
}

const deviceLost = "The GPU was lost: its driver or the browser ended it. The model is being loaded again, on the processor.";

const isLost = ({ result }: Pick<TextStream, "result">): Promise<boolean> =>
  result.then(
    () => false,
    ({ code }) => code === "DEVICE_LOST",
  );

const pathOf = (chatId: string, id: string) => `conversations/${chatId}/${id}.state`;

/** What `save` writes to its stream, as it comes. */
async function* streamedBy(save: (to: WritableStream<Uint8Array>) => Promise<void>): AsyncGenerator<Uint8Array> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const done = save(writable);
  done.catch(() => undefined); // the reader fails with it
  const reader = readable.getReader();
  try {
    for (;;) {
      const { value, done: isWhole } = await reader.read();
      if (isWhole) break;
      yield value;
    }
    await done;
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
