// A conversation that keeps its state: each turn reads only what is new.

import { JambaError } from "@jamba/core";
import type { Message } from "@jamba/tokenizer";
import { parseToolCalls } from "@jamba/tokenizer";
import { type GenerateContext, generate, type Part, type Result } from "./generate.ts";
import { checkOptions, type GenerateOptions } from "./options.ts";
import { expectTokenizer, type PromptOptions, renderMessages } from "./prompt.ts";
import type { Sequence } from "./runner.ts";
import { TextStream } from "./text-stream.ts";

export interface SessionOptions extends PromptOptions {
  /** The first message, if it is not among `messages`. */
  system?: string;
  /** A conversation to begin with. */
  messages?: readonly Message[];
}

/** Turns of one session are answered one after another, in the order in which their streams are first read. */
export class Session {
  readonly #context: GenerateContext;
  readonly #options: PromptOptions;
  /** As the template sees them: an answer is kept as it was written, so that its tokens need not be read again. */
  #written: readonly Message[];
  #sequence: Sequence | undefined;
  #turns: Promise<unknown> = Promise.resolve();
  #disposed = false;

  /** Takes over `sequence`. */
  constructor(context: GenerateContext, options: PromptOptions, written: readonly Message[], sequence?: Sequence) {
    expectTokenizer(context.tokenizer);
    this.#context = context;
    this.#options = options;
    this.#written = written;
    this.#sequence = sequence;
  }

  static open(context: GenerateContext, { system, messages = [], ...options }: SessionOptions): Session {
    const first: Message[] = system === undefined ? [] : [{ role: "system", content: system }];
    return new Session(context, checkOptions(options), [...first, ...messages]);
  }

  get messages(): readonly Message[] {
    return this.#written.map((message) => {
      if (message.role !== "assistant" || typeof message.content !== "string") return message;
      const { content, toolCalls } = parseToolCalls(message.content);
      return toolCalls.length > 0 ? { ...message, content, toolCalls } : message;
    });
  }

  /** The tokens that the kept state has read. */
  get tokens(): readonly number[] {
    return this.#sequence?.ids ?? [];
  }

  async send(input: string | readonly Message[], options: GenerateOptions = {}): Promise<Result> {
    return this.stream(input, options).result;
  }

  /** A turn that fails, or is cancelled before its first token, leaves the session as it was. */
  stream(input: string | readonly Message[], options: GenerateOptions = {}): TextStream {
    const given = checkOptions(options);
    const added: readonly Message[] = typeof input === "string" ? [{ role: "user", content: input }] : input;
    return new TextStream(given.signal, (signal) => this.#turn(added, { ...given, signal }));
  }

  /** A second conversation from here on; neither sees what the other goes on to say. */
  async fork(): Promise<Session> {
    await this.#turns;
    this.#expectOpen();
    const sequence = this.#sequence && (await this.#context.runner.fork(this.#sequence));
    return new Session(this.#context, this.#options, this.#written, sequence);
  }

  async dispose(): Promise<void> {
    await this.#turns;
    this.#disposed = true;
    if (this.#sequence) this.#context.runner.release(this.#sequence);
    this.#sequence = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async *#turn(added: readonly Message[], options: GenerateOptions): AsyncGenerator<Part, Result> {
    const { runner } = this.#context;
    // In line from the first read on: a stream that is never read must not hold up the others.
    const before = this.#turns;
    let done!: () => void;
    this.#turns = new Promise<void>((resolve) => {
      done = resolve;
    });
    let sequence: Sequence | undefined;
    try {
      await before;
      this.#expectOpen();
      const messages = [...this.#written, ...added];
      const next = this.#continue(renderMessages(this.#context.tokenizer, messages, { ...this.#options, ...options }));
      sequence = next.reuse ? await runner.fork(this.#sequence!) : runner.newSequence();
      const result = yield* generate(this.#context, { sequence, ids: next.ids, cacheMissReason: next.cacheMissReason }, options);
      if (this.#sequence) runner.release(this.#sequence);
      this.#sequence = sequence;
      sequence = undefined;
      this.#written = [...messages, { role: "assistant", content: withoutTemplateSpace(result.text) }];
      return result;
    } finally {
      if (sequence) runner.release(sequence);
      done();
    }
  }

  /** Which tokens of the rendered conversation the kept state has not read. */
  #continue(text: string): { reuse: boolean; ids: number[]; cacheMissReason?: string } {
    const tokenizer = expectTokenizer(this.#context.tokenizer);
    if (!this.#sequence) return { reuse: false, ids: tokenizer.encode(text) };
    const read = tokenizer.decode(this.tokens);
    if (text.startsWith(read) && text.length > read.length) return { reuse: true, ids: tokenizer.encode(text.slice(read.length)) };
    let at = 0;
    while (at < read.length && read[at] === text[at]) at++;
    const shown = (s: string) => JSON.stringify(s.slice(at, at + 24));
    const cacheMissReason = `the conversation differs from the one that was read at character ${at} of ${read.length}: ${shown(read)} was read, ${shown(text)} is to be`;
    return { reuse: false, ids: tokenizer.encode(text), cacheMissReason };
  }

  #expectOpen(): void {
    if (this.#disposed) throw new JambaError("DISPOSED", "session: expected an open one, found it disposed");
  }
}

/** Jamba's template writes a space before an answer and the model writes it too: it belongs to the template. */
function withoutTemplateSpace(text: string): string {
  return text.startsWith(" ") ? text.slice(1) : text;
}
