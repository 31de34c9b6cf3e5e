import type { Command } from "../cli.ts";
import { commonFlags, UsageError } from "../flags.ts";

export const version: Command = {
  words: "",
  summary: "the version of this command",
  flags: { json: commonFlags.json, quiet: commonFlags.quiet, help: commonFlags.help },

  async run({ flags, words }, { stdout, version }) {
    if (words.length > 0) throw new UsageError(`version: expected nothing behind it, found ${words.join(" ")}`);
    stdout.write(flags.json ? `${JSON.stringify({ version })}\n` : `${version}\n`);
    return 0;
  },
};
