// Messages typed at a terminal: lines edited by node's readline, to which this adds what a message needs and a line does not: pasted
// lines that stay one message, lines that go on, and a search through what was typed before. Keys that come while nobody reads wait.

import { createInterface, emitKeypressEvents, type Interface, type Key } from "node:readline";
import { PassThrough } from "node:stream";
import type { Terminal } from "./terminal.ts";

/** Marks of terminals around what is pasted, asked for and no longer. */
const [pasteOn, pasteOff] = ["\u001b[?2004h", "\u001b[?2004l"];
/** Shift-Enter and Alt-Enter of terminals that tell them from Enter; Alt-Enter of the others is "meta". */
const newlineKeys = new Set(["\u001b[13;2u", "\u001b[13;3u", "\u001b[13;4u"]);
const quotes = '"""';

interface Search {
  query: string;
  /** Where in the history it has arrived. */
  at: number;
  /** What stood there before. */
  readonly line: string;
}

export interface EditorOptions {
  readonly input: Terminal["stdin"] & { setRawMode?(on: boolean): void };
  readonly output: Terminal["stderr"];
  /** The newest first. */
  readonly history: readonly string[];
  /** Ctrl-C while nobody reads. */
  onInterrupt(): void;
}

export class LineEditor {
  readonly #options: EditorOptions;
  readonly #lines: Interface & { line: string; cursor: number };
  /** The newest first. */
  readonly #history: string[];
  /** Which entry of it stands there; -1 for what is being typed, which is kept as the draft meanwhile. */
  #at = -1;
  #draft = "";
  readonly #waiting: (() => void)[] = [];
  #resolve: ((text: string | undefined) => void) | undefined;
  #prompt = "";
  #pasted: string | undefined;
  /** Whether what stands there was typed, so that its quotes mean something. */
  #isTyped = true;
  #search: Search | undefined;
  /** Whether Ctrl-C ended it. */
  interrupted = false;
  readonly #onKey = (text: string | undefined, key: Key) => this.#key(text, key);
  readonly #onEnd = () => this.#later(() => this.#finish(undefined));

  constructor(options: EditorOptions) {
    const { input, output, history } = options;
    this.#options = options;
    this.#history = [...history];
    // It gets its keys from here, one by one.
    const keys = new PassThrough();
    // Its own history takes several lines apart, in another way in each version of node.
    this.#lines = createInterface({ input: keys, output, terminal: true, historySize: 0 });
    this.#lines.on("line", (line) => this.#finish(line));
    this.#lines.on("SIGTSTP", () => this.#suspend());
    emitKeypressEvents(input);
    input.setRawMode?.(true);
    input.on("keypress", this.#onKey).on("end", this.#onEnd);
    input.resume();
  }

  /** The next message, with its line breaks; undefined when somebody leaves. */
  read(prompt: string): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#prompt = prompt;
      this.#isTyped = true;
      this.#options.output.write(pasteOn);
      this.#lines.setPrompt(prompt);
      this.#lines.prompt();
      this.#catchUp();
    });
  }

  /** What was typed meanwhile, up to the end of a message. */
  #catchUp(): void {
    while (this.#resolve && this.#waiting.length > 0) this.#waiting.shift()!();
  }

  close(): void {
    const { input, output } = this.#options;
    input.off("keypress", this.#onKey).off("end", this.#onEnd);
    output.write(pasteOff);
    input.setRawMode?.(false);
    input.pause();
    this.#lines.close();
    this.#finish(undefined);
  }

  #finish(line: string | undefined): void {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    if (!resolve) return;
    this.#options.output.write(pasteOff);
    const text = line !== undefined && this.#isTyped ? unquoted(line) : line;
    if (text?.trim() && this.#history[0] !== text) this.#history.unshift(text);
    this.#at = -1;
    resolve(text);
  }

  #key(text: string | undefined, key: Key): void {
    if (key.name === "paste-start") this.#pasted = "";
    else if (key.name === "paste-end") {
      const pasted = (this.#pasted ?? "").replaceAll(/\r\n?/g, "\n").replaceAll(/[^\n\t\P{Cc}]/gu, "");
      this.#pasted = undefined;
      this.#later(() => this.#paste(pasted));
    } else if (this.#pasted !== undefined) this.#pasted += text ?? key.sequence ?? "";
    else if (key.ctrl && key.name === "c") this.interrupt();
    else this.#later(() => this.#typed(text, key));
  }

  #later(act: () => void): void {
    if (this.#resolve) act();
    else this.#waiting.push(act);
  }

  /** Ctrl-C, typed or sent. */
  interrupt(): void {
    if (!this.#resolve) {
      this.#waiting.length = 0;
      this.#options.onInterrupt();
    } else if (this.#search) this.#endSearch(this.#search.line);
    else if (this.#lines.line !== "") {
      // As in a shell: what was begun is gone.
      this.#isTyped = true;
      this.#set("");
    } else {
      this.interrupted = true;
      this.#finish(undefined);
    }
  }

  #typed(text: string | undefined, key: Key): void {
    if (this.#search && this.#searchKey(text, key)) return;
    const { line, cursor } = this.#lines;
    const isEnter = key.name === "return" || key.name === "enter";
    if (key.ctrl && key.name === "r") this.#showSearch({ query: "", at: -1, line });
    else if (key.ctrl && key.name === "d" && line === "") this.#finish(undefined);
    else if (newlineKeys.has(key.sequence ?? "") || (isEnter && key.meta)) this.#insert("\n");
    else if (isEnter && cursor === line.length && /(^|[^\\])\\$/.test(line)) this.#set(`${line.slice(0, -1)}\n`);
    else if (isEnter && this.#isTyped && isOpen(line)) this.#insert("\n");
    else if (key.name === "up" && line.lastIndexOf("\n", cursor - 1) >= 0 && cursor > 0) this.#moveTo(lineBefore(line, cursor));
    else if (key.name === "down" && line.indexOf("\n", cursor) >= 0) this.#moveTo(lineAfter(line, cursor));
    else if (key.name === "up" || (key.ctrl && key.name === "p")) this.#recall(this.#at + 1);
    else if (key.name === "down" || (key.ctrl && key.name === "n")) this.#recall(this.#at - 1);
    else {
      // The next line begins below all of them.
      if (isEnter && cursor < line.length) this.#moveTo(line.length);
      this.#lines.write(text as string, key);
    }
  }

  #recall(at: number): void {
    if (at < -1 || at >= this.#history.length) return;
    if (this.#at === -1) this.#draft = this.#lines.line;
    this.#at = at;
    this.#isTyped = false;
    this.#set(at === -1 ? this.#draft : this.#history[at]);
  }

  #paste(text: string): void {
    if (this.#search) this.#endSearch(this.#lines.line);
    this.#isTyped = false;
    this.#insert(text);
  }

  #insert(text: string): void {
    const { line, cursor } = this.#lines;
    this.#set(line.slice(0, cursor) + text + line.slice(cursor), cursor + text.length);
  }

  #set(line: string, cursor = line.length): void {
    this.#lines.line = line;
    this.#moveTo(cursor);
  }

  #moveTo(cursor: number): void {
    this.#lines.cursor = cursor;
    this.#lines.prompt(true);
  }

  /** @returns whether the key belonged to the search */
  #searchKey(text: string | undefined, key: Key): boolean {
    const search = this.#search!;
    if (key.ctrl && key.name === "r") this.#showSearch(search, search.at + 1);
    else if (key.ctrl && key.name === "g") this.#endSearch(search.line);
    else if (key.name === "backspace") this.#showSearch({ ...search, query: [...search.query].slice(0, -1).join("") }, 0);
    else if (text !== undefined && !key.ctrl && !key.meta && /^\P{Cc}+$/u.test(text))
      this.#showSearch({ ...search, query: search.query + text }, Math.max(0, search.at));
    else {
      // Any other key takes what was found and does what it always does; Escape only the first.
      this.#endSearch(this.#lines.line);
      return key.name === "escape";
    }
    return true;
  }

  /** @param from where in the history to begin */
  #showSearch(search: Search, from = 0): void {
    const found = search.query === "" ? -1 : this.#history.findIndex((entry, i) => i >= from && entry.includes(search.query));
    const isMissing = search.query !== "" && found < 0;
    this.#search = { ...search, at: found < 0 ? search.at : found };
    this.#lines.setPrompt(`${isMissing ? "nothing more" : "search"} "${search.query}": `);
    const line = search.query === "" ? search.line : (this.#history[this.#search.at] ?? search.line);
    this.#set(line, Math.max(0, line.indexOf(search.query)));
  }

  #endSearch(line: string): void {
    this.#search = undefined;
    this.#isTyped = false;
    this.#lines.setPrompt(this.#prompt);
    this.#set(line);
  }

  #suspend(): void {
    const { input, output } = this.#options;
    output.write(pasteOff);
    input.setRawMode?.(false);
    process.once("SIGCONT", () => {
      input.setRawMode?.(true);
      output.write(pasteOn);
      this.#lines.prompt(true);
    });
    process.kill(process.pid, "SIGTSTP");
  }
}

/** Between two lines of quotes all is one message. */
export function isOpen(text: string): boolean {
  const begun = text.trimStart();
  return begun.startsWith(quotes) && !(begun.length >= 2 * quotes.length && begun.trimEnd().endsWith(quotes));
}

/** What stands between the quotes, if there are such. */
export function unquoted(text: string): string {
  const inner = text.trim();
  if (!inner.startsWith(quotes) || isOpen(inner)) return text;
  return inner.slice(quotes.length, -quotes.length).replace(/^\r?\n|\r?\n$/g, "");
}

/** The same column a line higher, as far as that reaches. */
function lineBefore(text: string, cursor: number): number {
  const start = text.lastIndexOf("\n", cursor - 1) + 1;
  const before = text.lastIndexOf("\n", start - 2) + 1;
  return Math.min(before + (cursor - start), start - 1);
}

function lineAfter(text: string, cursor: number): number {
  const start = text.lastIndexOf("\n", cursor - 1) + 1;
  const next = text.indexOf("\n", cursor) + 1;
  const end = text.indexOf("\n", next);
  return Math.min(next + (cursor - start), end < 0 ? text.length : end);
}

/** Messages of lines that nobody types: one a line, where none ends in a backslash and none is quoted. */
export async function* messagesOf(lines: AsyncIterable<string>): AsyncGenerator<string> {
  let message: string | undefined;
  for await (const line of lines) {
    message = message === undefined ? line : `${message}\n${line}`;
    if (isOpen(message)) continue;
    if (/(^|[^\\])\\$/.test(message)) message = message.slice(0, -1);
    else {
      yield unquoted(message);
      message = undefined;
    }
  }
  if (message !== undefined) yield message;
}
