// A conversation that keeps its state: each turn reads only what is new.

import { JambaError, unlessAborted } from "@jamba/core";
import type { Message, Tokenizer } from "@jamba/tokenizer";
import { StreamDecoder } from "@jamba/tokenizer";
import { AnswerParts } from "./answer/answer-parts.ts";
import { callsOf } from "./answer/answer-text.ts";
import { cancelledBefore, type GenerateContext, generate, type Part, type Result } from "./answer/generate.ts";
import { type CheckedOptions, checkOptions, type GenerateOptions } from "./answer/options.ts";
import { type AnswerForm, expectTokenizer, type PromptOptions, renderMessages, systemTokensOf } from "./answer/prompt.ts";
import { beside, decode, encode, type Reading } from "./answer/reading.ts";
import { answerInRounds } from "./answer/run-tools.ts";
import { TextStream } from "./answer/text-stream.ts";
import { readFitting } from "./answer/truncate.ts";
import type { KeptState } from "./engine/calls.ts";
import { type ReadAs, readMeta, type WrittenMessage, writtenMeta } from "./session-file.ts";
import { readStateFile, stateName, writeStateFile } from "./state/state-file.ts";
import { madeUnknown } from "./state/tenant.ts";

export interface SessionOptions<Arguments = Record<string, never>> extends PromptOptions<Arguments>, Pick<GenerateOptions, "tenant"> {
  /** The first message, if it is not among `messages`. */
  system?: string;
  /** A conversation to begin with. */
  messages?: readonly Message[];
}

/** What a session knows. Replaced as a whole, so that a turn that fails changes nothing. */
interface Conversation {
  /** As the template sees them. */
  readonly written: readonly WrittenMessage[];
  readonly options: CheckedOptions;
  /** The state after the last turn, pinned, and the tokens that it has read. */
  readonly kept?: KeptState;
  readonly ids: readonly number[];
}

/**
 * Turns of one session are answered one after another, in the order in which their streams are first read. A tool that awaits a turn of the
 * session that runs it would wait for itself: let it ask the model, or a session of its own.
 */
export class Session {
  readonly #context: GenerateContext;
  #now: Conversation;
  #turns: Promise<unknown> = Promise.resolve();
  #disposed = false;

  /** Takes over what `conversation` keeps. */
  constructor(context: GenerateContext, conversation: Conversation) {
    expectTokenizer(context.tokenizer);
    this.#context = context;
    this.#now = conversation;
  }

  static open(context: GenerateContext, { system, messages = [], ...options }: SessionOptions): Session {
    const first: Message[] = system === undefined ? [] : [{ role: "system", content: system }];
    return new Session(context, { written: [...first, ...messages], options: checkOptions(options), ids: [] });
  }

  /** One turn of a conversation that nobody goes on with: tools run as in a session. */
  static async *answer(context: GenerateContext, messages: readonly Message[], options: CheckedOptions): AsyncGenerator<Part, Result> {
    const session = new Session(context, { written: messages, options: {}, ids: [] });
    try {
      return yield* session.#turn([], options);
    } finally {
      await session.dispose();
    }
  }

  get messages(): readonly Message[] {
    return this.#now.written.map((message) => {
      if (message.role !== "assistant" || typeof message.content !== "string") return message;
      const { callIds, readAs, ...said } = message;
      return { ...said, ...readAnswer(message.content, callIds, readAs) };
    });
  }

  /** The tokens that the kept state has read. */
  get tokens(): readonly number[] {
    return this.#now.ids;
  }

  async send<Parsed = unknown, Arguments = Record<string, unknown>>(
    input: string | readonly Message[],
    options: GenerateOptions<Parsed, Arguments> = {},
  ): Promise<Result<Parsed>> {
    return this.stream(input, options).result;
  }

  /**
   * A turn that fails, or ends before its first token, leaves the session as it was. Where tools run, each of the turn's rounds is kept
   * once its answer is, with what the tools returned. One that continues the last message makes it longer.
   * @param input what is said; no messages at all for another answer to the last one, or for more of it with `continueFinalMessage`
   */
  stream<Parsed = unknown, Arguments = Record<string, unknown>>(
    input: string | readonly Message[],
    options: GenerateOptions<Parsed, Arguments> = {},
  ): TextStream<Parsed> {
    const given = checkOptions(options);
    if ((given.n ?? 1) > 1) throw new JambaError("OPTION", `n: expected one answer a turn, found ${given.n}; fork the session for more`);
    const added: readonly Message[] = typeof input === "string" ? [{ role: "user", content: input }] : input;
    return new TextStream(given, (signal) => this.#turn(added, { ...given, signal }));
  }

  /** A second conversation from here on; neither sees what the other goes on to say. Nothing is copied until one of them does. */
  fork(): Promise<Session> {
    return this.#inLine(() => {
      if (this.#now.kept) this.#context.engine.hold(this.#now.kept);
      return new Session(this.#context, this.#now);
    });
  }

  /** Forgets the messages from `messageIndex` on. What the first ones share with what was read is not read again. */
  rewind(messageIndex: number): Promise<void> {
    return this.#inLine(() => {
      const { written } = this.#now;
      if (!(Number.isSafeInteger(messageIndex) && messageIndex >= 0 && messageIndex <= written.length)) {
        throw new JambaError("OPTION", `rewind: expected a message index in [0, ${written.length}], found ${messageIndex}`);
      }
      this.#now = { ...this.#now, written: written.slice(0, messageIndex) };
    });
  }

  /**
   * Writes messages, options and state to a file; what `path` has stays until the new file is whole. What runs tools is no part of it:
   * pass the tools again with the next turn. Neither is the tenant.
   * @param path or a stream where there are no files, as in a page, which is closed at the end, or aborted
   * @throws LoadError where nothing can be written, what the stream throws, the signal's reason
   */
  save(path: string | WritableStream<Uint8Array>, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#inLine(async () => {
      const { engine, identity } = this.#context;
      const { kept, ids, written, options } = this.#now;
      const meta = writtenMeta({ messages: written, options });
      const header = { ...(await identity.get(signal)), made: engine.madeOf(kept), meta };
      await writeStateFile(path, header, ids, engine.stateShape.spec, engine.export(kept), { signal });
    }, signal);
  }

  /**
   * Goes on from a file or a blob that `save` wrote, in place of what was said here.
   * @throws LoadError for a file that is missing or damaged, JambaError SESSION_MISMATCH for one of another model; nothing changes then
   */
  load(from: string | Blob, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#inLine(async () => {
      const { engine, identity } = this.#context;
      const expected = { ...(await identity.get(signal)), ...engine.stateShape };
      const name = stateName(from);
      const next = await readStateFile(
        from,
        expected,
        async ({ header, ids, parts }) => {
          const { messages, options } = await readMeta(name, header.meta, ids, this.#context, signal);
          const { tenant } = this.#now.options;
          const kept = await engine.import(ids, parts, { tenant }, header.made ?? madeUnknown(ids.length));
          return { written: messages, options: { ...options, ...(tenant && { tenant }) }, kept, ids };
        },
        signal,
      );
      this.#become(next);
    }, signal);
  }

  async dispose(): Promise<void> {
    await this.#turns;
    if (this.#disposed) return;
    this.#disposed = true;
    this.#become({ ...this.#now, kept: undefined });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async *#turn(added: readonly Message[], given: CheckedOptions): AsyncGenerator<Part, Result> {
    // In line from the first read on: a stream that is never read must not hold up the others.
    let done: () => void;
    try {
      done = await this.#enter(given.signal);
    } catch (error) {
      return cancelledBefore(error, given.signal);
    }
    try {
      const options = { ...this.#now.options, ...given };
      if (!options.runners?.size) return yield* this.#answer(added, options);
      let asked = added;
      const answer = (options: CheckedOptions) => {
        const said = asked;
        asked = [];
        return this.#answer(said, options);
      };
      const add = (messages: readonly Message[]) => {
        this.#now = { ...this.#now, written: [...this.#now.written, ...messages] };
      };
      return yield* answerInRounds({ answer, add }, options);
    } finally {
      done();
    }
  }

  async *#answer(added: readonly Message[], options: CheckedOptions): AsyncGenerator<Part, Result> {
    const { tokenizer, contextLength, stopIds } = this.#context;
    const messages = [...this.#now.written, ...added];
    const { ids: before, kept: from } = this.#now;
    const reading = readFitting(messages, options, contextLength, function* (kept) {
      const { text, ...rendered } = yield* renderMessages(tokenizer, kept, options);
      const ids = yield* idsOf(expectTokenizer(tokenizer), text, before, stopIds);
      return { ids, systemTokens: yield* systemTokensOf(tokenizer, kept, options, ids), ...rendered };
    });
    let prefix: string | undefined;
    let form: AnswerForm | undefined;
    let next: Pick<Conversation, "kept" | "ids"> | undefined;
    let content = "";
    const onEnd = (kept: KeptState, ids: readonly number[], written: string) => {
      next = { kept, ids };
      content = prefix ? prefix + written : withoutTemplateSpace(written);
    };
    const read = async () => {
      const prompt = await beside(reading, options.signal);
      ({ prefix, form } = prompt);
      return { ...prompt, from, onEnd };
    };
    const result = yield* generate(this.#context, read, options);
    const callIds = result.toolCalls.map(({ id }) => id);
    const readAs = {
      thoughts: form?.thoughts && !beginsWithThoughts(content),
      calls: callsOf(options),
      isCut: result.finishReason === "length" || result.finishReason === "cancelled",
    };
    if (next) this.#become({ ...this.#now, ...next, written: withAnswer(messages, { content, callIds, readAs }, prefix) });
    return result;
  }

  /** Takes over what `next` keeps. */
  #become(next: Conversation): void {
    const { kept } = this.#now;
    this.#now = next;
    // Also where it is the same state, which is pinned once more then.
    if (kept) this.#context.engine.release(kept);
  }

  /**
   * Waits for the turns before.
   * @returns what lets the next one begin
   * @throws the signal's reason, without waiting for them; JambaError DISPOSED
   */
  async #enter(signal?: AbortSignal): Promise<() => void> {
    const before = this.#turns;
    let done!: () => void;
    const own = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#turns = before.then(() => own);
    try {
      await unlessAborted(() => before, signal);
      if (this.#disposed) throw new JambaError("DISPOSED", "session: expected an open one, found it disposed");
    } catch (error) {
      done();
      throw error;
    }
    return done;
  }

  async #inLine<T>(act: () => T | Promise<T>, signal?: AbortSignal): Promise<T> {
    const done = await this.#enter(signal);
    try {
      return await act();
    } finally {
      done();
    }
  }
}

/**
 * The tokens of `text`, with those that were read as long as they say the same: a text can be cut into tokens in more than one way,
 * and the model's own way need not be the tokenizer's.
 */
function* idsOf(tokenizer: Tokenizer, text: string, read: readonly number[], stopIds: ReadonlySet<number>): Reading<number[]> {
  const whole = yield* decode(tokenizer, read);
  if (text.startsWith(whole) && text.length > whole.length) return read.concat(yield* encode(tokenizer, text.slice(whole.length)));
  // Back to the last end of a message that both have.
  const decoder = new StreamDecoder(tokenizer);
  let [shared, chars, at] = [0, 0, 0];
  for (const [i, id] of read.entries()) {
    const piece = decoder.push(id);
    if (!text.startsWith(piece, at)) break;
    at += piece.length;
    if (stopIds.has(id)) [shared, chars] = [i + 1, at];
  }
  return read.slice(0, shared).concat(yield* encode(tokenizer, text.slice(chars)));
}

/** An answer as it was written, for those who look at it. One that was given, and not made here, may have calls of any tool. */
function readAnswer(
  written: string,
  callIds: readonly string[] = [],
  { isCut, ...options }: ReadAs = { thoughts: written.includes("</think>") && !beginsWithThoughts(written), calls: "found", isCut: false },
): Message {
  const parts = new AnswerParts(options);
  parts.push(written);
  parts.end({ isCut });
  const { text: content, reasoning } = parts;
  const toolCalls = parts.toolCalls.map((call, i) => ({ ...call, id: callIds[i] ?? call.id }));
  return { role: "assistant", content, ...(reasoning !== undefined && { reasoning }), ...(toolCalls.length > 0 && { toolCalls }) };
}

function beginsWithThoughts(written: string): boolean {
  return written.trimStart().startsWith("<think>");
}

/** @param prefix of the answer, the words of the last message, which it takes the place of then */
function withAnswer(
  messages: readonly WrittenMessage[],
  answer: { readonly content: string; readonly callIds: readonly string[]; readonly readAs: ReadAs },
  prefix: string | undefined,
): readonly WrittenMessage[] {
  if (prefix === undefined) return [...messages, { role: "assistant", ...answer }];
  const { prefix: _, reasoning, reasoning_content, callIds: before = [], ...begun } = messages.at(-1)!;
  const thoughts = beginsWithThoughts(prefix) ? undefined : (reasoning ?? reasoning_content);
  // A call that it had begun has the id that the rest of it got.
  const old = (readAnswer(answer.content, [], answer.readAs).toolCalls?.length ?? 0) - answer.callIds.length;
  const callIds = [...before.slice(0, Math.max(0, old)), ...answer.callIds];
  return [...messages.slice(0, -1), { ...begun, ...answer, ...(thoughts !== undefined && { reasoning: thoughts }), callIds }];
}

/** Jamba's template writes a space before an answer and the model writes it too: it belongs to the template. */
function withoutTemplateSpace(text: string): string {
  return text.startsWith(" ") ? text.slice(1) : text;
}
