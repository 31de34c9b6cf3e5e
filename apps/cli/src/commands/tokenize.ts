import { loadTokenizer, type Tokenizer } from "@jamba/tokenizer";
import { checkpointOf } from "../checkpoint.ts";
import type { Command } from "../cli.ts";
import { commonFlags, type FlagValues, idsFlag, UsageError } from "../flags.ts";
import { splitModel } from "../model-word.ts";
import { coloursFor, counted } from "../terminal.ts";

export const tokenize: Command = {
  words: "[MODEL] TEXT",
  summary: "the tokens of a text, one a line",
  about: "TEXT may come from stdin. Special tokens in it become their ids.",
  flags: {
    ids: { type: "string", value: "1,2,3", help: "the text of these ids instead" },
    chat: { type: "boolean", help: "TEXT as a user's message, in the model's template" },
    bos: { type: "boolean", help: "with the token that begins a text" },
    ...commonFlags,
  },
  notes: "--json gives { ids, tokens, count } or { text }.",

  async run({ flags, words }, terminal) {
    const { model: source, rest } = await splitModel(words, "tokenize");
    const { stdin, stdout, stderr } = terminal;
    const tokenizer = await open(source, flags);
    const given = idsFlag(flags);
    if (given) {
      const text = tokenizer.decode(given);
      stdout.write(flags.json ? `${JSON.stringify({ text })}\n` : `${text}\n`);
      return 0;
    }
    let text = rest.join(" ");
    if (text === "" && !stdin.isTTY) for await (const piece of stdin) text += piece;
    if (text === "") throw new UsageError("tokenize: expected a text, found none; give it as words, on stdin, or ids as --ids");
    const rendered = flags.chat ? tokenizer.renderChat([{ role: "user", content: text }]) : text;
    const ids = tokenizer.encode(rendered, { addBos: Boolean(flags.bos) });
    const tokens = ids.map((id) => tokenizer.tokenOf(id)!);
    if (flags.json) {
      stdout.write(`${JSON.stringify({ ids, tokens, count: ids.length })}\n`);
      return 0;
    }
    const { dim, cyan } = coloursFor(stdout, terminal);
    for (const [i, id] of ids.entries()) {
      const shown = tokenizer.isSpecial(id) ? cyan(tokens[i]) : JSON.stringify(tokens[i]).slice(1, -1);
      stdout.write(`${dim(String(id).padStart(6))}  ${shown}\n`);
    }
    if (!flags.quiet) stderr.write(`${counted(ids.length, "token")}, ${source}\n`);
    return 0;
  },
};

async function open(source: string, flags: FlagValues): Promise<Tokenizer> {
  const checkpoint = await checkpointOf(source, flags);
  await checkpoint.close();
  if (checkpoint.tokenizer === undefined) throw new UsageError(`${source}: expected a tokenizer.json beside the weights, found none`);
  return loadTokenizer(checkpoint.tokenizer, checkpoint.tokenizerConfig);
}
