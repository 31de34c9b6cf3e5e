import type { Command, Commands } from "../cli.ts";
import { commonFlags, UsageError } from "../flags.ts";
import { commandHelp, generalHelp, modelHelp } from "../help.ts";
import { nearest } from "../nearest.ts";

/** @param all gives the table that this command is itself a part of */
export function help(all: () => Commands): Command {
  return {
    words: "[COMMAND|model]",
    summary: "how one is used, what MODEL may be",
    choices: () => [...Object.keys(all()), "model"],
    flags: { json: commonFlags.json, quiet: commonFlags.quiet, help: commonFlags.help },
    async run({ flags, words }, { stdout }) {
      if (words.length > 1) throw new UsageError(`help: expected one command, found ${words.join(" ")}`);
      const text = helpOf(words[0], all());
      stdout.write(flags.json ? `${JSON.stringify({ text })}\n` : text);
      return 0;
    },
  };
}

function helpOf(name: string | undefined, commands: Commands): string {
  if (name === undefined) return generalHelp(commands);
  if (name === "model") return modelHelp;
  if (Object.hasOwn(commands, name)) return commandHelp(name, commands[name]);
  throw unknownCommand(name, commands);
}

export function unknownCommand(name: string, commands: Commands): UsageError {
  const near = nearest(name, Object.keys(commands));
  const hint = near ? `did you mean jamba ${near}?` : "see jamba help";
  return new UsageError(`${name}: expected a command (${Object.keys(commands).join(", ")}), found this; ${hint}`);
}
