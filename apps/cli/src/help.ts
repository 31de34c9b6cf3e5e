// Help pages. A command accepts the flags of its rows, so a page can't miss one.

import type { FlagName } from "./flags.ts";
import { wrap } from "./layout.ts";

export interface HelpRow {
  readonly flags: readonly FlagName[];
  readonly label: string;
  readonly text: string;
}

export interface HelpPage {
  readonly usage: string;
  readonly about: string;
  readonly rows: readonly HelpRow[];
}

const row = (flags: readonly FlagName[], label: string, text: string): HelpRow => ({ flags, label, text });

export const commonRows: readonly HelpRow[] = [
  row(["json", "quiet"], "--json, --quiet", "one JSON document on stdout; only errors on stderr"),
  row(["backend", "dtype"], "--backend B, --dtype D", "see `jamba devices`; f32, bf16, f16 [auto]"),
  row(["threads", "offline"], "--threads N, --offline", "threads to use; fetch nothing"),
  row(["help"], "-h, --help", "this page"),
];

const contextLength = row(["context-length"], "--context-length N", "tokens that may be held [the model's]");

export const answerRows: readonly HelpRow[] = [
  row(["max-tokens"], "--max-tokens N", "new tokens at most [1024]"),
  row(["temperature"], "--temperature T", "0: the most probable token [the model's, or 0]"),
  row(["top-k", "top-p", "min-p"], "--top-k K, --top-p P, --min-p P", "which tokens to draw from"),
  row(["repetition-penalty"], "--repetition-penalty R", "above 1: fewer repetitions [1]"),
  row(["seed"], "--seed N", "same seed, same text [drawn]"),
  row(["stop"], "--stop TEXT", "end before TEXT; may be repeated"),
  row(["ignore-eos", "logprobs"], "--ignore-eos, --logprobs", "go on after an end; show log probabilities"),
  contextLength,
];

const modelRule =
  "A single argument is MODEL if it is tiny, a path that exists or begins with . or /, a URL, ends in .gguf or .safetensors, or looks like org/name; otherwise it is";

export const pages = {
  run: {
    usage: "jamba run [MODEL] [PROMPT]",
    about: `Continues PROMPT, or stdin if piped. ${modelRule} a prompt for tiny, which tells a story if there is none. The prompt is repeated on a terminal only.`,
    rows: [
      row(["ids"], "--ids 1,2,3", "token ids instead of a prompt"),
      row(["system"], "--system TEXT", "send PROMPT as a chat message after TEXT"),
      ...answerRows,
    ],
  },
  chat: {
    usage: "jamba chat [MODEL]",
    about:
      "A conversation that keeps its state. /help lists what else can be typed; Ctrl-C stops an answer. If stdin is piped, each line is a message.",
    rows: [row(["system"], "--system TEXT", "the first message"), ...answerRows],
  },
  inspect: {
    usage: "jamba inspect [MODEL]",
    about: "Shows config, layers and where the bytes are. Reads headers only.",
    rows: [row(["tensors"], "--tensors", "list every tensor")],
  },
  tokenize: {
    usage: "jamba tokenize [MODEL] [TEXT]",
    about: `Shows the tokens of TEXT, or of stdin if piped, as the model reads them. ${modelRule} a text for tiny.`,
    rows: [
      row(["ids"], "--ids 1,2,3", "decode these instead"),
      row(["chat"], "--chat", "TEXT as a user's message in the model's chat form"),
    ],
  },
  score: {
    usage: "jamba score [MODEL] [PROMPT CONTINUATION]",
    about: "Log probability of CONTINUATION after PROMPT: the sum, per token, and the perplexity.",
    rows: [
      row(["prompt", "continuation"], "--prompt T, --continuation T", "the texts, by name"),
      row(["ids", "continuation-ids"], "--ids 1,2, --continuation-ids 3", "or as token ids"),
      contextLength,
    ],
  },
  devices: { usage: "jamba devices", about: "Lists every backend: its device, or why it can't be used here.", rows: [] },
} as const satisfies Record<string, HelpPage>;

export type CommandName = keyof typeof pages;

export function flagsOf(command: CommandName): FlagName[] {
  return [...pages[command].rows, ...commonRows].flatMap((r) => r.flags);
}

export function commandHelp(command: CommandName, width: number): string {
  const { usage, about, rows } = pages[command];
  return page(
    `Usage: ${usage} [flags]`,
    about,
    [...rows, ...commonRows].map((r) => [r.label, r.text] as const),
    width,
  );
}

export function programHelp(width: number): string {
  const commands = [
    ["run [MODEL] [PROMPT]", "continue a text"],
    ["chat [MODEL]", "talk, line by line"],
    ["inspect [MODEL]", "config, layers, bytes"],
    ["tokenize [MODEL] [TEXT]", "text to token ids and back"],
    ["score [MODEL] [PROMPT CONTINUATION]", "log probabilities"],
    ["devices", "what this computer can use"],
    ["COMMAND --help", "the flags of a command"],
    ["--version", "this program's version"],
    ...commonRows.map((r) => [r.label, r.text]),
  ] as const;
  const about =
    "Runs AI21's Jamba models. MODEL is a directory, a .safetensors file, an http(s) folder, or tiny (a small story teller, used if MODEL is left out).";
  const foot = wrap("Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.", Math.min(width, 80)).join("\n");
  return `${page("Usage: jamba COMMAND [flags]", about, commands, width)}\n${foot}\n`;
}

function page(usage: string, about: string, rows: readonly (readonly [string, string])[], terminalWidth: number): string {
  const width = Math.min(terminalWidth, 80);
  // Beside each other where the texts keep half the line.
  const labels = Math.max(...rows.map(([label]) => label.length)) + 4;
  const beside = width >= 70;
  const lines = rows.flatMap(([label, text]) => {
    if (!beside) return [`  ${label}`, ...wrap(text, width - 4).map((line) => `    ${line}`)];
    const [first, ...more] = wrap(text, width - labels);
    return [`  ${label}`.padEnd(labels) + first, ...more.map((line) => " ".repeat(labels) + line)];
  });
  return [...wrap(usage, width), "", ...wrap(about, width), "", ...lines, ""].join("\n");
}
