import { createInterface } from "node:readline/promises";
import { loadModel, type Result, type Session } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags, generateFlags, generateOptions, loadOptions, splitModel, textFlag, UsageError } from "../flags.ts";
import { coloursFor, loadBar, type Terminal } from "../terminal.ts";
import { summary } from "./run.ts";

const inside = `  /tokens   tokens that the conversation holds
  /reset    begin again
  /help     this
  /exit     leave (Ctrl-D too); Ctrl-C stops an answer
`;

export const chat: Command = {
  help: `jamba chat [MODEL]: a conversation that is read only once

  Lines on stdin, if it is no terminal, are messages one after another.
  With --json the whole conversation is one document at its end.

  --system TEXT     the first message
  --max-tokens, -n N  --temperature, -t T  --top-k K  --top-p P  --min-p P
  --repetition-penalty R  --seed, -s N  --stop TEXT
  --json --quiet --backend --dtype --threads --context-length --offline

In the conversation:
${inside}`,
  flags: { ...commonFlags, ...generateFlags, system: { type: "string" } },

  async run({ flags, words }, terminal) {
    const { model: source, rest } = splitModel(words);
    if (rest.length > 0) throw new UsageError(`chat: expected a model at most, found ${JSON.stringify(rest.join(" "))}`);
    const { stdin, stdout, stderr } = terminal;
    const quiet = Boolean(flags.quiet || flags.json);
    const { dim, cyan } = coloursFor(stderr, terminal);
    const options = generateOptions(flags);
    const bar = loadBar(terminal, !quiet);
    const model = await loadModel(source, { ...loadOptions(flags), onProgress: bar.onProgress }).finally(bar.stop);
    const open = () => model.session({ system: textFlag(flags, "system") });
    const isTTY = Boolean(stdin.isTTY);
    const lines = createInterface({ input: stdin, output: isTTY ? stderr : undefined, terminal: isTTY, prompt: cyan("> ") });
    let session = open();
    let stop: AbortController | undefined;
    let interrupted = false;
    const interrupt = () => {
      if (stop && !stop.signal.aborted) return stop.abort(new Error("interrupted"));
      if (stop) return terminal.exit(130);
      interrupted = true;
      lines.close();
    };
    const off = terminal.onInterrupt(interrupt);
    // On a terminal readline takes Ctrl-C for itself.
    lines.on("SIGINT", interrupt);
    const answers: unknown[] = [];
    try {
      if (isTTY && !quiet) stderr.write(dim(`${source} on ${model.device.kind}: ${model.device.name}. /help\n`));
      if (isTTY) lines.prompt();
      for await (const line of lines) {
        const text = line.trim();
        if (text === "/exit") break;
        if (text === "/help") stderr.write(inside);
        else if (text === "/tokens") stderr.write(dim(`  ${session.tokens.length} of ${model.contextLength}\n`));
        else if (text === "/reset") {
          await session.dispose();
          session = open();
        } else if (text !== "") {
          stop = new AbortController();
          const answer = await say(session, text, { ...options, signal: stop.signal }, flags.json ? undefined : stdout).catch((error) => {
            if (!stop?.signal.aborted) throw error;
          });
          stop = undefined;
          if (!quiet) stderr.write(dim(answer ? `${summary(answer.result, model)}\n` : "  stopped before the first word\n"));
          if (answer) answers.push(answer);
        }
        if (interrupted) break;
        if (isTTY) lines.prompt();
      }
      if (flags.json) stdout.write(`${JSON.stringify({ messages: session.messages, answers, device: model.device })}\n`);
      return interrupted ? 130 : 0;
    } finally {
      off();
      lines.close();
      await session.dispose();
      await model.dispose();
    }
  },
};

/** One turn, shown as it comes. The template's space before an answer is no part of it. */
async function say(
  session: Session,
  question: string,
  options: Parameters<Session["stream"]>[1],
  to: Terminal["stdout"] | undefined,
): Promise<{ text: string; result: Result }> {
  const stream = session.stream(question, options);
  let text = "";
  for await (const part of stream) {
    const piece = text === "" ? part.text.trimStart() : part.text;
    text += piece;
    to?.write(piece);
  }
  to?.write("\n");
  return { text, result: await stream.result };
}
