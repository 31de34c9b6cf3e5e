import { type Command, type CommandInput, modelAndTexts, showToken } from "../command.ts";
import { UsageError } from "../errors.ts";
import { pages } from "../help.ts";
import { table } from "../layout.ts";
import { deviceOf, tokenizerOf, withModel } from "../model.ts";

type Text = string | readonly number[];

export const score: Command = async (input) => {
  const { model, prompt, continuation } = argumentsOf(input);
  const { flags, interrupts, output } = input;
  await withModel(input, model, async (loaded) => {
    const { logprob, tokens } = await loaded.score(prompt, continuation, { signal: interrupts.signal });
    const perplexity = Math.exp(-logprob / tokens.length);
    const tokenizer = tokenizerOf(loaded);
    if (output.json) {
      const named = tokens.map(({ id, logprob }) => ({ id, piece: tokenizer?.tokenOf(id), logprob }));
      await output.document({ logprob, perplexity, count: tokens.length, tokens: named, device: loaded.device });
      return;
    }
    const rows = tokens.map(({ id, logprob }) => [String(id), logprob.toFixed(4), showToken(tokenizer, id)]);
    const lines = [...table(rows, [0, 1]), `log probability ${logprob.toFixed(4)}`, `perplexity ${perplexity.toFixed(4)}`];
    await output.text(`${lines.join("\n")}\n`);
    output.note([`${tokens.length} token${tokens.length === 1 ? "" : "s"}`, deviceOf(loaded, flags)].join(" · "));
  });
  return undefined;
};

/** Each text comes by name, as ids, or in order. */
function argumentsOf({ flags, positionals }: CommandInput): { model: string; prompt: Text; continuation: Text } {
  const named = { prompt: flags.prompt ?? flags.ids, continuation: flags.continuation ?? flags.continuationIds };
  const missing = Object.values(named).filter((text) => text === undefined).length;
  const { model, texts } = modelAndTexts(positionals, missing, pages.score.usage);
  const left = [...texts];
  const prompt = named.prompt ?? left.shift();
  const continuation = named.continuation ?? left.shift();
  if (prompt === undefined || continuation === undefined || left.length > 0) {
    throw new UsageError(
      `${pages.score.usage}: expected a prompt and a continuation, found ${positionals.length} arguments and no others by name`,
    );
  }
  if (continuation.length === 0) throw new UsageError("jamba score: expected a continuation of at least one token, found none");
  return { model, prompt, continuation };
}
