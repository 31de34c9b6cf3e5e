import { basename } from "node:path";
import { createInterface, type Interface } from "node:readline/promises";
import { JambaError, type JambaModel, loadModel, type TextStream } from "jamba";
import { Chat } from "../chat.ts";
import type { Command } from "../cli.ts";
import { commonFlags, type FlagValues, generateFlags, generateOptions, loadOptions, textFlag, textOf, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { coloursFor, loadBar, type Terminal } from "../terminal.ts";
import { summary } from "./run.ts";

const first = { type: "string", group: "begin" } as const;

export const chat: Command = {
  words: "[MODEL]",
  summary: "a conversation that is read only once",
  about: `Lines on stdin, if it is no terminal, are messages one after another. With
--json the whole conversation is one document at its end.`,
  flags: {
    system: { ...first, value: "TEXT", help: "the first message" },
    file: { ...first, value: "FILE", multiple: true, help: "a document to answer from" },
    load: { ...first, value: "FILE", help: "go on from what /save wrote" },
    ...generateFlags,
    ...commonFlags,
  },
  notes: `/help tells of /fork, /rewind, /retry, /save and what else there is in it.
Ctrl-C stops an answer; a second one, or one at the prompt, leaves.`,

  async run({ flags, words }, terminal) {
    if (words.length > 1) throw new UsageError(`chat: expected a model at most, found ${JSON.stringify(words.join(" "))}`);
    const source = await modelOf(words[0]);
    if (flags.load !== undefined && (flags.system !== undefined || flags.file !== undefined))
      throw new UsageError("--load: expected neither --system nor --file beside it, for a conversation has its own");
    const files = (flags.file ?? []) as string[];
    const documents = await Promise.all(files.map(async (file) => ({ title: basename(file), text: await textOf("--file", file) })));
    const bar = loadBar(terminal, !(flags.quiet || flags.json));
    const model = await loadModel(source, { ...loadOptions(flags, terminal), onProgress: bar.onProgress }).finally(bar.stop);
    try {
      if (documents.length > 0) expectPlaceFor(documents[0].text, documents, model);
      const load = textFlag(flags, "load");
      const begin = { system: textFlag(flags, "system"), ...(documents.length > 0 && { documents }) };
      const session = load === undefined ? model.session(begin) : await model.openSession(load);
      return await converse(new Chat(model, session, generateOptions(flags), documents, terminal), flags, source, terminal);
    } finally {
      await model.dispose();
    }
  },
};

/** Not every template shows documents to the model. */
function expectPlaceFor(text: string, documents: readonly object[], model: JambaModel): void {
  if (model.tokenizer.renderChat([{ role: "user", content: "" }], { documents }).includes(text)) return;
  throw new JambaError("OPTION", "--file: expected a model whose chat template shows documents, found one that leaves them out");
}

/** Message after message, until the lines end or somebody leaves. @returns the exit code */
async function converse(chat: Chat, flags: FlagValues, source: string, terminal: Terminal): Promise<number> {
  const { stdin, stdout, stderr } = terminal;
  const quiet = Boolean(flags.quiet || flags.json);
  const isTTY = Boolean(stdin.isTTY);
  const { dim, cyan, red } = coloursFor(stderr, terminal);
  const prompt = () => cyan(chat.branches.size > 1 ? `${chat.name} > ` : "> ");
  const lines = createInterface({ input: stdin, output: isTTY ? stderr : undefined, terminal: isTTY });
  const ask = () => {
    if (!isTTY) return;
    lines.setPrompt(prompt());
    lines.prompt();
  };
  let stop: AbortController | undefined;
  let interrupted = false;
  const interrupt = () => {
    if (stop && !stop.signal.aborted) return stop.abort(new Error("interrupted"));
    if (stop) return terminal.exit(130);
    if (isTTY && lines.line !== "") return clearLine(lines);
    interrupted = true;
    lines.close();
  };
  const off = terminal.onInterrupt(interrupt);
  // On a terminal readline takes Ctrl-C for itself.
  lines.on("SIGINT", interrupt);
  const answers: unknown[] = [];
  try {
    if (isTTY && !quiet) stderr.write(dim(`${source} on ${chat.model.device.kind}: ${chat.model.device.name}. /help\n`));
    ask();
    for await (const line of lines) {
      const text = line.trim();
      if (text === "/exit") break;
      stop = new AbortController();
      const { signal } = stop;
      try {
        const stream = text.startsWith("/") ? await chat.act(text, signal) : text === "" ? undefined : chat.say(text, signal);
        if (stream) {
          const said = await show(stream, flags.json ? undefined : stdout, quiet ? undefined : (thought) => stderr.write(dim(thought)));
          const result = await chat.keep(stream);
          answers.push({ text: said, result });
          // Nothing was there before the first answer.
          const miss = answers.length > 1 && result.cacheMissReason ? `\n  read again: ${result.cacheMissReason}` : "";
          if (!quiet) stderr.write(`${dim(`${summary(result, source, chat.model)}${miss}`)}\n`);
          if (!quiet && stderr.isTTY) stderr.write(chat.pictures());
        }
      } catch (error) {
        if (signal.aborted) {
          if (!quiet) stderr.write(dim("  stopped before the first word\n"));
        } else if (error instanceof JambaError && isTTY) {
          // Somebody is there to say it in another way.
          stderr.write(`${red("jamba:")} [${error.code}] ${error.message}\n`);
        } else throw error;
      }
      stop = undefined;
      if (interrupted) break;
      ask();
    }
    if (isTTY) stderr.write("\n");
    if (flags.json) stdout.write(`${JSON.stringify({ messages: chat.session.messages, answers, device: chat.model.device })}\n`);
    return interrupted ? 130 : 0;
  } finally {
    off();
    lines.close();
    await chat.dispose();
  }
}

/** Ctrl-C at a line that somebody has begun, as in a shell. */
function clearLine(lines: Interface): void {
  lines.write(null, { ctrl: true, name: "e" });
  lines.write(null, { ctrl: true, name: "u" });
}

/** One turn, shown as it comes. */
async function show(stream: TextStream, to: Terminal["stdout"] | undefined, onThought?: (text: string) => void): Promise<string> {
  let text = "";
  for await (const { pieces } of stream) {
    for (const piece of pieces) {
      if ("reasoning" in piece) onThought?.(piece.reasoning);
      if (!("text" in piece)) continue;
      // The template's space before an answer is no part of it.
      const shown = text === "" ? piece.text.trimStart() : piece.text;
      text += shown;
      to?.write(shown);
    }
  }
  to?.write("\n");
  return text;
}
