import { openCheckpoint } from "@jamba/loader";
import { loadTokenizer, type Tokenizer } from "@jamba/tokenizer";
import { JambaError } from "jamba";
import { type Command, type CommandInput, modelAndTexts, readPiped, showToken, sourceOf } from "../command.ts";
import { UsageError } from "../errors.ts";
import { pages } from "../help.ts";
import { table } from "../layout.ts";

export const tokenize: Command = async (input) => {
  const { flags, output } = input;
  const { model, texts } = modelAndTexts(input.positionals, 1, pages.tokenize.usage);
  if (flags.ids && (flags.chat || texts.length > 0))
    throw new UsageError("jamba tokenize: --ids takes the place of TEXT and --chat; leave one out");
  const given = flags.ids ? undefined : (texts[0] ?? (await readPiped(input, false)));
  if (!flags.ids && given === undefined)
    throw new UsageError("jamba tokenize: expected TEXT, found none; pass it, pipe it in, or give --ids");
  const tokenizer = await openTokenizer(input, model);
  const { ids, text } = flags.ids ? { ids: flags.ids, text: tokenizer.decode(flags.ids) } : encode(tokenizer, given!, flags.chat);
  const pieces = ids.map((id) => tokenizer.tokenOf(id));
  if (output.json) await output.document({ text, ids, pieces, count: ids.length });
  else if (flags.ids) await output.text(`${text}\n`);
  else {
    const rows = ids.map((id) => [String(id), showToken(tokenizer, id)]);
    await output.text(
      table(rows, [0])
        .map((line) => `${line}\n`)
        .join(""),
    );
  }
  output.note(`${ids.length} token${ids.length === 1 ? "" : "s"}`);
  return undefined;
};

function encode(tokenizer: Tokenizer, given: string, chat = false): { ids: number[]; text: string } {
  if (!chat) return { ids: tokenizer.encode(given, { addBos: tokenizer.addBos }), text: given };
  const text = tokenizer.renderChat([{ role: "user", content: given }]);
  return { ids: tokenizer.encode(text), text };
}

async function openTokenizer({ interrupts }: CommandInput, model: string): Promise<Tokenizer> {
  const checkpoint = await openCheckpoint(sourceOf(model), { signal: interrupts.signal });
  await checkpoint.close();
  if (checkpoint.tokenizer === undefined) {
    throw new JambaError("TOKENIZER", `${model}: expected a tokenizer.json beside the weights, found none`);
  }
  return loadTokenizer(checkpoint.tokenizer, checkpoint.tokenizerConfig);
}
