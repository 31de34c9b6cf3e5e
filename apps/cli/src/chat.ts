// A conversation with branches, and what its /commands do. It knows nothing of lines, prompts and Ctrl-C.

import type { GenerateOptions, JambaModel, Result, Session, TextStream } from "jamba";
import { nearest } from "./nearest.ts";
import { gauges } from "./pictures.ts";
import { bytesText, coloursFor, counted, type Terminal, widthOf, wrapped } from "./terminal.ts";

interface Action {
  readonly words: string;
  readonly help: string;
  run?(chat: Chat, words: string, signal: AbortSignal): Promise<void>;
  /** In place of `run`: makes the model answer, if it can. */
  answer?(chat: Chat, signal: AbortSignal): Promise<TextStream | undefined>;
}

export const actions: Readonly<Record<string, Action>> = {
  fork: { words: "[NAME]", help: "go on in a second conversation; the first one stays", run: (chat, name) => chat.fork(name) },
  switch: { words: "[NAME]", help: "to another of them; without NAME: which there are", run: (chat, name) => chat.switch(name) },
  rewind: { words: "[N]", help: "forget the last N questions (1) and their answers", run: (chat, n) => chat.rewind(n) },
  retry: { words: "", help: "another answer to the last question", answer: (chat, signal) => chat.retry(signal) },
  system: { words: "TEXT", help: "another first message, to the same conversation", run: (chat, text) => chat.system(text) },
  reset: { words: "", help: "begin again", run: (chat) => chat.reset() },
  save: { words: "FILE", help: "keep the conversation with all that was read", run: (chat, file, signal) => chat.save(file, signal) },
  load: { words: "FILE", help: "go on from such a file", run: (chat, file, signal) => chat.load(file, signal) },
  tokens: { words: "", help: "how full the context is", run: async (chat) => chat.tell(chat.pictures()) },
  stats: { words: "", help: "the last answer's speed, cache and memory", run: async (chat) => chat.tell(chat.stats()) },
  help: { words: "", help: "this", run: async (chat) => chat.tell(inside) },
  exit: { words: "", help: "leave (Ctrl-D too); Ctrl-C stops an answer" },
};

export const inside = Object.entries(actions)
  .map(([name, { words, help }]) => `  /${`${name} ${words}`.padEnd(15)} ${help}\n`)
  .join("");

/** At temperature 0 the same question has the same answer. */
const retryTemperature = 0.8;

export class Chat {
  readonly branches = new Map<string, Session>();
  name = "1";
  #last: Result | undefined;
  #retries = 0;
  /** A retry that answers: its session becomes the branch's own once the answer is whole. */
  #trial: { readonly stream: TextStream; readonly session: Session } | undefined;

  constructor(
    readonly model: JambaModel,
    session: Session,
    readonly options: GenerateOptions,
    readonly documents: readonly object[],
    readonly terminal: Terminal,
  ) {
    this.branches.set(this.name, session);
  }

  get session(): Session {
    return this.branches.get(this.name)!;
  }

  say(text: string, signal: AbortSignal): TextStream {
    this.#retries = 0;
    return this.session.stream(text, { ...this.options, signal });
  }

  /** Of several lines only those that begin with a command: a path may be pasted too. */
  isCommand(text: string): boolean {
    const [, name] = /^\s*\/(\S*)/.exec(text) ?? [];
    return name !== undefined && (!text.includes("\n") || Object.hasOwn(actions, name));
  }

  /** What a line that begins with a slash asks for; one that asks for nothing known is answered with help. */
  async act(line: string, signal: AbortSignal): Promise<TextStream | undefined> {
    const [, name, words] = /^\/(\S*)\s*(.*)$/s.exec(line)!;
    const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
    if (action?.answer) return action.answer(this, signal);
    if (action?.run) {
      await action.run(this, words, signal);
      return undefined;
    }
    const near = nearest(name, Object.keys(actions));
    this.tell(`  /${name}: expected one of these${near ? `; did you mean /${near}?` : ""}\n${inside}`);
    return undefined;
  }

  /** The whole answer; what it was an attempt at becomes the conversation. @throws the reason of a cancel before its first token */
  async keep(stream: TextStream): Promise<Result> {
    const result = await stream.result;
    if (result.finishReason === "cancelled" && result.ids.length === 0) throw result.cancelReason;
    this.#last = result;
    if (this.#trial?.stream === stream) {
      await this.#become(this.#trial.session);
      this.#trial = undefined;
    }
    return this.#last;
  }

  async fork(name: string): Promise<void> {
    const taken = this.branches.has(name);
    if (taken) return this.tell(`  /fork: expected a new name, found ${name}, which is one of ${this.#names()}\n`);
    let next = this.branches.size + 1;
    while (this.branches.has(String(next))) next++;
    const branch = await this.session.fork();
    this.name = name || String(next);
    this.branches.set(this.name, branch);
    this.tell(`  in ${this.name}, one of ${this.#names()}\n`);
  }

  async switch(name: string): Promise<void> {
    if (name !== "" && !this.branches.has(name)) return this.tell(`  /switch: expected one of ${this.#names()}, found ${name}\n`);
    if (name !== "") this.name = name;
    this.tell(`  in ${this.name}, one of ${this.#names()}\n`);
  }

  async rewind(count: string): Promise<void> {
    const n = count === "" ? 1 : Number(count);
    const asked = this.session.messages.flatMap(({ role }, i) => (role === "user" ? [i] : []));
    if (!(Number.isSafeInteger(n) && n >= 1 && n <= asked.length))
      return this.tell(`  /rewind: expected a number of questions, at most ${asked.length}, found ${count || "1"}\n`);
    await this.session.rewind(asked[asked.length - n]);
    this.tell(`  ${counted(asked.length - n, "question")} left\n`);
  }

  /** Tried on a fork: an answer that never comes costs nothing. */
  async retry(signal: AbortSignal): Promise<TextStream | undefined> {
    const { messages } = this.session;
    if (messages.at(-1)?.role !== "assistant") {
      this.tell("  /retry: expected an answer to replace, found none\n");
      return undefined;
    }
    await this.#trial?.session.dispose();
    const session = await this.session.fork();
    await session.rewind(messages.length - 1);
    this.#retries++;
    const { temperature = this.model.defaults.temperature ?? 0, seed } = this.options;
    if (temperature === 0) this.tell(`  at temperature ${retryTemperature}, for at 0 the answer is the same\n`);
    const stream = session.stream([], {
      ...this.options,
      signal,
      temperature: temperature || retryTemperature,
      seed: seed === undefined ? undefined : seed + this.#retries,
    });
    this.#trial = { stream, session };
    return stream;
  }

  async system(text: string): Promise<void> {
    if (text === "") return this.tell("  /system: expected a text, found none\n");
    const messages = this.session.messages.filter(({ role }, i) => !(i === 0 && role === "system"));
    await this.#become(this.model.session({ system: text, messages, ...this.#withDocuments() }));
    this.tell(`  kept, with ${counted(messages.length, "message")} after it\n`);
  }

  async reset(): Promise<void> {
    const [first] = this.session.messages;
    await this.#become(this.model.session({ messages: first?.role === "system" ? [first] : [], ...this.#withDocuments() }));
    this.#last = undefined;
  }

  async save(file: string, signal: AbortSignal): Promise<void> {
    if (file === "") return this.tell("  /save: expected a file, found none\n");
    await this.session.save(file, { signal });
    this.tell(`  ${file}: ${this.#size()}\n`);
  }

  async load(file: string, signal: AbortSignal): Promise<void> {
    if (file === "") return this.tell("  /load: expected a file, found none\n");
    await this.session.load(file, { signal });
    this.#last = undefined;
    this.tell(`  ${file}: ${this.#size()}\n`);
  }

  /** How much of the last prompt was there before, and how full the context is. */
  pictures(): string {
    const { stderr } = this.terminal;
    const context = { name: "context", value: this.session.tokens.length, of: this.model.contextLength, unit: "tokens" };
    const { usage } = this.#last ?? {};
    const kept = usage ? [{ name: "kept", value: usage.cachedTokens, of: usage.promptTokens, unit: "tokens" }] : [];
    return gauges([...kept, context], widthOf(stderr), coloursFor(stderr, this.terminal).cyan)
      .map((line) => `${line}\n`)
      .join("");
  }

  stats(): string {
    const { weightBytes, mappedBytes = 0, stateBytes, arenaBytes } = this.model.memory();
    const { states, bytes } = this.model.cached();
    const mapped = mappedBytes > 0 ? ` (${bytesText(mappedBytes)} mapped)` : "";
    const said: string[] = [];
    if (this.#last) {
      const { usage, timings, cacheMissReason } = this.#last;
      const share = ((100 * usage.cachedTokens) / Math.max(1, usage.promptTokens)).toFixed(0);
      said.push(
        `last answer: ${counted(usage.promptTokens, "token")} read, ${share} % of them kept from before; ${usage.completionTokens} written, ${timings.tokensPerSecond.toFixed(1)} tokens/s, first after ${(timings.firstTokenMs / 1000).toFixed(2)} s`,
        cacheMissReason ? `read again: ${cacheMissReason}` : "nothing had to be read again",
      );
    }
    said.push(
      `memory: weights ${bytesText(weightBytes)}${mapped}, states ${bytesText(stateBytes)}, scratch ${bytesText(arenaBytes)}, process ${bytesText(process.memoryUsage.rss())}`,
      `kept for later prompts: ${counted(states, "state")}, ${bytesText(bytes)}`,
    );
    const width = widthOf(this.terminal.stderr) - 4;
    const lines = said.flatMap((text) => wrapped(text, width).map((line, i) => `${i === 0 ? "  " : "    "}${line}\n`));
    return this.pictures() + lines.join("");
  }

  /** To whoever sits there; never among the answers. */
  tell(text: string): void {
    this.terminal.stderr.write(coloursFor(this.terminal.stderr, this.terminal).dim(text));
  }

  async dispose(): Promise<void> {
    await this.#trial?.session.dispose();
    for (const session of this.branches.values()) await session.dispose();
  }

  async #become(session: Session): Promise<void> {
    const before = this.session;
    this.branches.set(this.name, session);
    await before.dispose();
  }

  #size(): string {
    return `${counted(this.session.messages.length, "message")}, ${counted(this.session.tokens.length, "token")}`;
  }

  #names(): string {
    return [...this.branches.keys()].join(", ");
  }

  #withDocuments() {
    return this.documents.length > 0 ? { documents: this.documents } : {};
  }
}
