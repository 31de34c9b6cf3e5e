// A conversation at a terminal or over stdin: message after message, each answer shown as it comes.

import { createInterface } from "node:readline";
import { JambaError, type TextStream } from "jamba";
import type { Chat } from "./chat.ts";
import { summary } from "./commands/run.ts";
import type { FlagValues } from "./flags.ts";
import { addToHistory, historyPath, readHistory } from "./history.ts";
import { LineEditor, messagesOf } from "./line-editor.ts";
import { below, coloursFor, type Terminal } from "./terminal.ts";
import { origin } from "./with-model.ts";
import { WordWrap } from "./word-wrap.ts";

/** Where messages come from. */
interface Messages {
  /** Undefined at the end, or when somebody leaves. */
  next(prompt: string): Promise<string | undefined>;
  /** Whether Ctrl-C ended them. */
  readonly interrupted: boolean;
  /** Ctrl-C that came as a signal while nothing is answered. */
  interrupt(): void;
  close(): void;
}

/** Until the messages end or somebody leaves. @returns the exit code */
export async function converse(chat: Chat, flags: FlagValues, source: string, terminal: Terminal): Promise<number> {
  const { stdout, stderr } = terminal;
  const quiet = Boolean(flags.quiet || flags.json);
  const isTTY = Boolean(terminal.stdin.isTTY);
  const { dim, cyan, red } = coloursFor(stderr, terminal);
  const prompt = () => cyan(chat.branches.size > 1 ? `${chat.name} > ` : "> ");
  let stop: AbortController | undefined;
  const interrupt = () => {
    if (!stop) messages.interrupt();
    else if (stop.signal.aborted) terminal.exit(130);
    else stop.abort(new Error("interrupted"));
  };
  if (isTTY && !quiet) stderr.write(dim(`${origin(source, chat.model)}, ${chat.model.device.name}. /help\n`));
  const messages = isTTY ? await typed(terminal, interrupt) : piped(terminal);
  const off = terminal.onInterrupt(interrupt);
  const answers: { text: string; result: object }[] = [];
  const answer = async (text: string, signal: AbortSignal) => {
    const stream = chat.isCommand(text) ? await chat.act(text.trim(), signal) : chat.say(text, signal);
    if (!stream) return;
    const said = await show(stream, flags.json ? undefined : terminal, quiet);
    const result = await chat.keep(stream);
    answers.push({ text: said, result });
    // Nothing was there before the first answer.
    const miss = answers.length > 1 && result.cacheMissReason ? [`read again: ${result.cacheMissReason}`] : [];
    if (!quiet) stderr.write(dim(below([summary(result, source, chat.model), ...miss], stderr)));
    if (!quiet && stderr.isTTY) stderr.write(chat.pictures());
  };
  try {
    for (let given = await messages.next(prompt()); given !== undefined; given = await messages.next(prompt())) {
      const text = trimmed(given);
      if (text === "/exit") break;
      if (text === "") continue;
      stop = new AbortController();
      const { signal } = stop;
      try {
        await answer(text, signal);
      } catch (error) {
        if (signal.aborted) {
          if (!quiet) stderr.write(dim("  stopped before the first word\n"));
        } else if (error instanceof JambaError && isTTY) {
          // Somebody is there to say it in another way.
          stderr.write(`${red("jamba:")} [${error.code}] ${error.message}\n`);
        } else throw error;
      }
      stop = undefined;
    }
    if (isTTY) stderr.write("\n");
    if (flags.json) stdout.write(`${JSON.stringify({ messages: chat.session.messages, answers, device: chat.model.device })}\n`);
    return messages.interrupted ? 130 : 0;
  } finally {
    off();
    messages.close();
    await chat.dispose();
  }
}

/** The first line of several may be indented. */
function trimmed(text: string): string {
  return text.includes("\n") ? text.replace(/^(\s*\n)+|\s+$/g, "") : text.trim();
}

async function typed(terminal: Terminal, onInterrupt: () => void): Promise<Messages> {
  const { stdin, stderr, env } = terminal;
  const path = historyPath(env);
  const history = path === undefined ? [] : await readHistory(path);
  const editor = new LineEditor({ input: stdin, output: stderr, history, onInterrupt });
  let isKept = path !== undefined;
  return {
    async next(prompt) {
      const text = await editor.read(prompt);
      if (isKept && text?.trim())
        await addToHistory(path!, text).catch((error: Error) => {
          isKept = false;
          stderr.write(coloursFor(stderr, terminal).dim(`  what is typed can't be kept for later: ${error.message}\n`));
        });
      return text;
    },
    get interrupted() {
      return editor.interrupted;
    },
    interrupt: () => editor.interrupt(),
    close: () => editor.close(),
  };
}

function piped({ stdin }: Terminal): Messages {
  const lines = createInterface({ input: stdin });
  const messages = messagesOf(lines);
  let interrupted = false;
  return {
    async next() {
      const { done, value } = await messages.next();
      return done || interrupted ? undefined : value;
    },
    get interrupted() {
      return interrupted;
    },
    interrupt() {
      interrupted = true;
      lines.close();
    },
    close: () => lines.close(),
  };
}

/** One turn, shown as it comes. @param terminal none where nothing is shown */
async function show(stream: TextStream, terminal: Terminal | undefined, quiet: boolean): Promise<string> {
  let text = "";
  const { stdout, stderr } = terminal ?? {};
  const screen = new WordWrap(() => (stdout?.isTTY ? stdout.columns : undefined));
  // Thoughts that go elsewhere are no part of the lines.
  const aside = stderr?.isTTY === stdout?.isTTY ? screen : new WordWrap(() => (stderr?.isTTY ? stderr.columns : undefined));
  const say = (words: string) => void stdout?.write(words);
  const think = (words: string) => void stderr?.write(terminal ? coloursFor(stderr, terminal).dim(words) : words);
  try {
    for await (const { pieces } of stream) {
      for (const piece of pieces) {
        if ("reasoning" in piece && !quiet) aside.write(piece.reasoning, think);
        if (!("text" in piece)) continue;
        // The template's space before an answer is no part of it.
        const shown = text === "" ? piece.text.trimStart() : piece.text;
        text += shown;
        screen.write(shown, say);
      }
    }
  } finally {
    if (aside !== screen) aside.end();
    screen.end();
  }
  say("\n");
  return text;
}
