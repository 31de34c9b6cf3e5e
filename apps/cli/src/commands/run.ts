import type { GenerateOptions, JambaModel, Message, Prompt, Result, Session, TextStream } from "jamba";
import type { Command } from "../cli.ts";
import { inFlags } from "../flag-names.ts";
import {
  commonFlags,
  FailedError,
  type FlagValues,
  formatFlag,
  generateFlags,
  generateOptions,
  idsFlag,
  jsonOf,
  numberFlag,
  textFlag,
  textOf,
  UsageError,
} from "../flags.ts";
import { splitModel } from "../model-word.ts";
import { below, coloursFor, counted, type Terminal } from "../terminal.ts";
import { origin, shortRun, withModel } from "../with-model.ts";
import { WordWrap } from "../word-wrap.ts";

const prompt = { type: "string", group: "prompt" } as const;
const more = { type: "string", group: "more" } as const;
const answer = { type: "string", group: "answer" } as const;

export const run: Command = {
  words: "[MODEL] [PROMPT]",
  summary: "write on from a text, or answer it",
  about: "PROMPT may come from stdin. What is taken for a MODEL: jamba help model.",
  flags: {
    file: { ...prompt, value: "FILE", multiple: true, help: "text before PROMPT; - is stdin" },
    system: { ...prompt, value: "TEXT", help: "answer PROMPT as a message, under TEXT" },
    load: { ...prompt, value: "FILE", help: "go on from a saved conversation" },
    save: { ...prompt, value: "FILE", help: "keep the conversation with its state" },
    ...generateFlags,
    "json-schema": { ...answer, value: "FILE|JSON", help: "JSON that the schema holds for" },
    regex: { ...answer, value: "R", help: "a text that matches R as a whole" },
    grammar: { ...answer, value: "FILE", help: "a text of this EBNF, or of a .lark file" },
    n: { ...answer, value: "N", fallback: "1", help: "answers to a prompt that is read once" },
    chat: { type: "boolean", group: "more", help: "answer PROMPT as a message" },
    ids: { ...more, value: "1,2,3", help: "the prompt as token ids" },
    tools: { ...more, value: "FILE|JSON", help: "what may be called, as OpenAI has it" },
    "tool-choice": { ...more, value: "auto|none|required|NAME", help: "which tool to call" },
    logprobs: { ...more, value: "N", help: "log probabilities, with N others (--json)" },
    ...commonFlags,
  },

  async run({ flags, words }, terminal) {
    const { model: source, rest } = await splitModel(words, "run");
    const options = await optionsOf(flags);
    const ask = await questionOf(flags, rest, source, terminal);
    const isBound = options.format !== undefined || options.tools !== undefined;
    const answered = async (model: JambaModel, signal: AbortSignal) => {
      const session = await sessionOf(flags, model, signal);
      const stream = session ? session.stream(ask as string, { ...options, signal }) : model.stream(ask, { ...options, signal });
      // With --n the answers come mixed, and half a JSON value is none.
      const isJson = options.format?.type === "json";
      const isWhole = Boolean(flags.json) || (options.n ?? 1) > 1 || isJson;
      if (!isWhole) await write(stream, ask, Boolean(session), terminal, Boolean(flags.quiet));
      const result = await stream.result;
      if (flags.json)
        terminal.stdout.write(`${JSON.stringify({ ...documentOf(result, flags.load !== undefined), device: model.device })}\n`);
      else for (const choice of result.choices ?? [result]) terminal.stdout.write(restOf(choice, isWhole, isJson));
      if (!flags.json && !flags.quiet) {
        for (const path of result.notEnforced ?? [])
          terminal.stderr.write(`  ${coloursFor(terminal.stderr, terminal).yellow("note:")} ${leftOpen(path, flags)}\n`);
        terminal.stderr.write(coloursFor(terminal.stderr, terminal).dim(below([summary(result, source, model)], terminal.stderr)));
      }
      const save = textFlag(flags, "save");
      if (session && save !== undefined) await session.save(save);
      await session?.dispose();
      return result.finishReason === "cancelled" ? 130 : 0;
    };
    return withModel(source, flags, terminal, answered, isBound ? { formats: "ready" } : shortRun);
  },
};

async function optionsOf(flags: FlagValues): Promise<GenerateOptions> {
  const [tools, choice, alternatives] = [textFlag(flags, "tools"), textFlag(flags, "tool-choice"), numberFlag(flags, "logprobs")];
  const isNamed = choice !== undefined && !["auto", "none", "required"].includes(choice);
  return {
    ...generateOptions(flags),
    n: numberFlag(flags, "n"),
    format: await formatFlag(flags),
    tools: tools === undefined ? undefined : ((await jsonOf("--tools", tools)) as GenerateOptions["tools"]),
    toolChoice: isNamed ? { name: choice } : (choice as GenerateOptions["toolChoice"]),
    logprobs: alternatives === undefined ? undefined : true,
    topLogprobs: alternatives,
  };
}

/** A text or messages; for a session the text of its next message. */
async function questionOf(flags: FlagValues, words: readonly string[], source: string, { stdin }: Terminal): Promise<Prompt> {
  const ids = idsFlag(flags);
  const files = (flags.file ?? []) as string[];
  const isSession = flags.load !== undefined || flags.save !== undefined;
  if (ids) {
    const beside = ["file", "system", "chat", "load", "save", "tools"].find((name) => flags[name] !== undefined);
    if (beside || words.length > 0) throw new UsageError(`--ids: expected no prompt beside it, found ${beside ? `--${beside}` : "one"}`);
    return ids;
  }
  if (flags.load !== undefined && flags.system !== undefined)
    throw new UsageError("--system: expected it where a conversation begins, found it beside --load");
  const piped = async () => {
    let text = "";
    for await (const piece of stdin) text += piece;
    return text;
  };
  const texts = await Promise.all(files.map((file) => (file === "-" ? piped() : textOf("--file", file))));
  if (words.length > 0) texts.push(words.join(" "));
  if (texts.length === 0 && !stdin.isTTY) texts.push(await piped());
  const ends = /\r?\n$/;
  const text = texts.map((one) => one.replace(ends, "")).join("\n\n") || (source === "tiny" && !isSession ? "Once upon a time" : "");
  if (text === "")
    throw new UsageError(`run: expected a prompt for ${source}, found none; give it as words, on stdin, as --file or as --ids`);
  const system = textFlag(flags, "system");
  if (isSession || !(flags.chat || system !== undefined || flags.tools !== undefined)) return text;
  const first: Message[] = system === undefined ? [] : [{ role: "system", content: system }];
  return [...first, { role: "user", content: text }];
}

async function sessionOf(flags: FlagValues, model: JambaModel, signal: AbortSignal): Promise<Session | undefined> {
  const load = textFlag(flags, "load");
  if (load !== undefined) return model.openSession(load, { signal });
  return flags.save === undefined ? undefined : model.session({ system: textFlag(flags, "system") });
}

/** The answer as it comes. */
async function write(stream: TextStream, ask: Prompt, isChat: boolean, terminal: Terminal, quiet: boolean): Promise<void> {
  const { stdout, stderr } = terminal;
  // What continues a text is written as the model wrote it.
  const isText = !isChat && (typeof ask === "string" || typeof ask[0] === "number");
  const screen = new WordWrap(() => (stdout.isTTY ? stdout.columns : undefined));
  const say = (words: string) => void stdout.write(words);
  if (typeof ask === "string" && isText && stdout.isTTY)
    screen.write(ask, (words) => void stdout.write(coloursFor(stdout, terminal).dim(words)));
  const { dim } = coloursFor(stderr, terminal);
  try {
    for await (const { text, pieces } of stream) {
      if (isText) screen.write(text, say);
      else
        for (const piece of pieces) {
          if ("text" in piece) screen.write(piece.text, say);
          else if ("reasoning" in piece && !quiet) stderr.write(dim(piece.reasoning));
        }
    }
  } finally {
    screen.end();
  }
}

/** What `write` has not shown of an answer: all of it where it was not asked to. @throws FailedError for half a JSON value */
function restOf(result: Result, isWhole: boolean, isJson: boolean): string {
  const { content, toolCalls, finishReason } = result;
  const calls = toolCalls.map(({ name, arguments: given }) => `${JSON.stringify({ name, arguments: given })}\n`).join("");
  if (content === "" && calls !== "") return calls;
  if (!isWhole) return `\n${calls}`;
  if (!isJson) return `${content}\n${calls}`;
  return finishReason === "cancelled" ? "" : wholeJson(result);
}

function wholeJson({ content, usage, finishReason }: Result): string {
  try {
    JSON.parse(content);
    return `${content.trim()}\n`;
  } catch {
    throw new FailedError(
      "CUT",
      `--json-schema: expected a whole JSON value, found one that ended after ${counted(usage.completionTokens, "token")} (${finishReason}); raise --max-tokens`,
    );
  }
}

/** Of a schema or tool that is not strict. `jamba schema` says why. */
function leftOpen(path: string, flags: FlagValues): string {
  return inFlags(`${path}: not enforced`, run.flags, flags);
}

/** @param isLoaded whether there was something to find the prompt in */
function documentOf(result: Result, isLoaded: boolean): object {
  const { text, ids, finishReason, stopString, content, toolCalls, reasoning, logprobs, choices } = result;
  const { usage, cacheMissReason, notEnforced, speculation, timings } = result;
  return {
    text,
    ids,
    finishReason,
    stopString,
    content: content === text ? undefined : content,
    toolCalls: toolCalls.length > 0 ? toolCalls : undefined,
    reasoning,
    logprobs,
    usage,
    cacheMissReason: isLoaded ? cacheMissReason : undefined,
    notEnforced,
    speculation,
    timings,
    choices: choices?.map((choice) => documentOf(choice, isLoaded)),
  };
}

/** What stands under an answer: what it took, and from which model on what. Why not on something faster was told when it was loaded. */
export function summary(result: Result, source: string, model: Pick<JambaModel, "device" | "dtypes">): string {
  const { usage, timings, finishReason } = result;
  const read =
    usage.cachedTokens > 0 ? `${usage.promptTokens - usage.cachedTokens} read, ${usage.cachedTokens} kept` : `${usage.promptTokens} read`;
  const speed = timings.tokensPerSecond > 0 ? `, ${timings.tokensPerSecond.toFixed(1)} tokens/s` : "";
  const first = (timings.firstTokenMs / 1000).toFixed(2);
  const took = `${read}, ${usage.completionTokens} written (${finishReason})${speed}, first after ${first} s`;
  return `${took}; ${origin(source, model)}`;
}
