// What --help prints, made from the same tables that parse the command lines.

import type { Command, Commands } from "./cli.ts";
import type { Flag } from "./flags.ts";
import { wrapped } from "./terminal.ts";

const width = 80;
/** Columns before a flag, and before what is said of it. */
const [margin, indent] = [12, 37];

/** Groups of flags that most people never look at: side by side instead of one a line. */
const packed = ["more", "sampling", "general"];

/** What can be done, in one screen. */
export function generalHelp(commands: Commands): string {
  const lines = Object.entries(commands).map(([name, { words, summary }]) => `  jamba ${`${name} ${words}`.padEnd(26)} ${summary}`);
  return `jamba: run Jamba models in this terminal

${lines.join("\n")}

MODEL is a hub id, a name, a folder, a file, a URL or tiny: jamba help model.
Flags: jamba help COMMAND. Exit: 0 done, 1 failed, 2 usage, 130 interrupted.
`;
}

export const modelHelp = `MODEL: what commands take as a model

  tiny                     the small one that comes along; if MODEL is left out
  OWNER/NAME               of the hub; OWNER/NAME:Q4_K_M, OWNER/NAME:FILE.gguf
                           one file of it
  Jamba2-3B                the family without ai21labs/ and AI21-, in any case;
                           also the NAME alone of what jamba list shows
  ./FOLDER  ~/FILE  a/b/c  a folder, a .gguf or .safetensors file
  https://HOST/PATH        the same on a web server, read by ranges

  Where a text may follow (run, tokenize), the first word is MODEL if it has one
  of these forms or something of that name is here. It is an error if it is
  none and yet looks like one: a slip of the keyboard in one of the names above,
  a name with its size or its quantisation (mistral-7b, llama3:8b), a path.
  Anything else begins the text, which goes to tiny: jamba run hello. With the
  model in front every text is taken as it is: jamba run tiny tyni. So is one
  in quotes that has a space in it: jamba run "a/b or c".
`;

/** Twenty-four lines of 80 columns at most; a test counts them. */
export function commandHelp(name: string, { words, summary, about, flags, notes }: Command): string {
  const groups = grouped(flags);
  const lines = [`${["jamba", name, words].filter(Boolean).join(" ")}: ${summary}`, ""];
  if (about) lines.push(...indented(about), "");
  for (const [group, members] of groups) {
    const rows = packed.includes(group) ? packedRows(members) : members.flatMap(listedRows);
    lines.push(...rows.map((row, i) => `  ${(i === 0 ? group : "").padEnd(margin - 2)}${row}`));
  }
  if (notes) lines.push("", ...indented(notes));
  return `${lines.join("\n")}\n`;
}

/** The values that a flag takes, where those are known. */
export function choicesOf(value: string | undefined): string[] {
  return value?.includes("|") && value === value.toLowerCase() ? value.split("|") : [];
}

type Named = readonly [name: string, flag: Flag];

function grouped(flags: Command["flags"]): Map<string, Named[]> {
  const groups = new Map<string, Named[]>();
  for (const [name, flag] of Object.entries(flags)) {
    const group = flag.group ?? "options";
    groups.set(group, [...(groups.get(group) ?? []), [name, flag]]);
  }
  // What every command takes stands last.
  return new Map([...groups].sort(([a], [b]) => Number(a === "general") - Number(b === "general")));
}

function indented(text: string): string[] {
  return text.split("\n").map((line) => (line === "" ? "" : `  ${line}`));
}

function listedRows([name, flag]: Named): string[] {
  const said = wrapped(`${flag.help}${flag.fallback ? ` (${flag.fallback})` : ""}`, width - indent);
  const usage = usageOf(name, flag);
  const isLong = usage.length + 1 > indent - margin;
  const rest = (isLong ? said : said.slice(1)).map((line) => " ".repeat(indent - margin) + line);
  return [isLong ? usage : usage.padEnd(indent - margin) + said[0], ...rest];
}

/** Between words that stay on one line. */
const noBreak = "\u00a0";

function packedRows(members: readonly Named[]): string[] {
  const items = members.map(([name, flag]) => `${usageOf(name, flag, "NAME")}${flag.fallback ? ` (${flag.fallback})` : ""}`);
  const text = items.map((item) => item.replaceAll(" ", noBreak)).join(" ");
  return wrapped(text, width - margin).map((line) => line.replaceAll(noBreak, " "));
}

/** @param list what stands for a list of values */
function usageOf(name: string, { short, value, multiple }: Flag, list = value): string {
  const shown = choicesOf(value).length > 0 ? list : value;
  return `${short ? `-${short}, ` : ""}--${name}${shown ? ` ${shown}` : ""}${multiple ? " …" : ""}`;
}
