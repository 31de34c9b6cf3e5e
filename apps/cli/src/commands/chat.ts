import { createInterface, type Interface } from "node:readline/promises";
import { Writable } from "node:stream";
import type { JambaModel, Result, Session } from "jamba";
import type { Command, CommandInput } from "../command.ts";
import { describeFailure, UsageError } from "../errors.ts";
import { pages } from "../help.ts";
import { colorsOf } from "../io.ts";
import { answerOptions, deviceOf, firstTokenOf, follow, resultDocument, speedOf, withModel } from "../model.ts";

const commandsHelp = "/exit ends, /reset forgets, /tokens counts what is held; Ctrl-C stops an answer, twice leaves";

export const chat: Command = async (input) => {
  const { positionals } = input;
  if (positionals.length > 1)
    throw new UsageError(`${pages.chat.usage}: found ${positionals.length} arguments; messages are typed or piped in`);
  const model = positionals[0] ?? "tiny";
  return withModel(input, model, (loaded) => converse(input, model, loaded));
};

async function converse(input: CommandInput, name: string, model: JambaModel): Promise<number> {
  const { flags, interrupts, output } = input;
  const open = () => model.session({ system: flags.system });
  const lines = openLines(input);
  const turns: Result[] = [];
  let session = open();
  let answering: AbortController | undefined;
  let exitCode = 0;
  const onInterrupt = () => {
    if (answering?.signal.aborted) input.io.exit(130);
    else if (answering) answering.abort();
    else {
      exitCode = 130;
      lines.close();
    }
  };
  const restore = interrupts.divert(onInterrupt);
  lines.onInterrupt(onInterrupt);
  interrupts.signal.addEventListener("abort", () => lines.close(), { once: true });
  if (lines.isTerminal) output.note(`${name} on ${deviceOf(model, flags)}; /help lists commands`);
  try {
    for (let line = await lines.next(); line !== undefined; line = await lines.next()) {
      const word = line.trim();
      if (word === "/exit") break;
      if (word === "/help") output.note(commandsHelp);
      else if (word === "/tokens") output.note(`${session.tokens.length} of ${model.contextLength} tokens held`);
      else if (word === "/reset") {
        await session.dispose();
        session = open();
      } else if (/^\/\w+$/.test(word)) output.note(`${word}: no such command; ${commandsHelp}`);
      else if (word !== "") {
        answering = new AbortController();
        const result = await answer(input, session, line, lines.isTerminal, answering.signal);
        answering = undefined;
        if (result) turns.push(result);
      }
    }
  } finally {
    lines.close();
    restore();
  }
  if (output.json) await output.document({ messages: session.messages, turns: turns.map(resultDocument), device: model.device });
  return exitCode;
}

/** On a terminal a failed answer is told and the conversation goes on as it was. */
async function answer(
  input: CommandInput,
  session: Session,
  message: string,
  isTerminal: boolean,
  stopped: AbortSignal,
): Promise<Result | undefined> {
  const { flags, interrupts, io, output } = input;
  const signal = AbortSignal.any([stopped, interrupts.signal]);
  let written = false;
  try {
    // A chat template writes a space before the answer and models repeat it.
    const result = await follow(session.stream(message, { ...answerOptions(flags), signal }), async ({ text }) => {
      await output.text(written ? text : text.trimStart());
      written ||= text.trim() !== "";
    });
    await output.text("\n");
    const { promptTokens, cachedTokens } = result.usage;
    const read = `read ${promptTokens - cachedTokens}, cached ${cachedTokens}`;
    output.note([read, speedOf(result), firstTokenOf(result), result.cacheMissReason ?? []].flat().join(" · "));
    return result;
  } catch (error) {
    if (written) await output.text("\n");
    if (interrupts.signal.aborted) throw interrupts.signal.reason;
    if (stopped.aborted) output.note("stopped before the first word; the message is forgotten");
    else if (!isTerminal || output.json) throw error;
    else {
      const { code, message } = await describeFailure(error);
      io.stderr.write(`jamba: [${code}] ${message}\n`);
    }
    return undefined;
  }
}

interface Lines {
  readonly isTerminal: boolean;
  /** undefined: there are no more. */
  next(): Promise<string | undefined>;
  onInterrupt(handler: () => void): void;
  close(): void;
}

/**
 * One reader for the whole conversation, so that lines pasted together are not lost and a terminal's Ctrl-C is seen
 * while an answer is written. What is typed meanwhile stays hidden until the next prompt shows it.
 */
function openLines({ io, output }: CommandInput): Lines {
  const isTerminal = io.stdin.isTTY === true && io.stderr.isTTY === true;
  let muted = true;
  const echo = Object.assign(
    new Writable({
      write(chunk, _encoding, done) {
        if (!muted) io.stderr.write(chunk);
        done();
      },
    }),
    { columns: io.stderr.columns, isTTY: io.stderr.isTTY },
  );
  const reader: Interface = createInterface({ input: io.stdin, output: echo, terminal: isTerminal, crlfDelay: Number.POSITIVE_INFINITY });
  reader.setPrompt(colorsOf(io, io.stderr).bold("> "));
  const lines = reader[Symbol.asyncIterator]();
  let closed = false;
  reader.once("close", () => {
    closed = true;
  });
  return {
    isTerminal,
    async next() {
      muted = !isTerminal || output.json;
      if (isTerminal && !closed) reader.prompt(true);
      const { value, done } = await lines.next();
      muted = true;
      return done ? undefined : value;
    },
    onInterrupt: (handler) => reader.on("SIGINT", handler),
    close() {
      if (closed) return;
      if (!muted) io.stderr.write("\n");
      reader.close();
    },
  };
}
