import type { JambaModel, Prompt, Result } from "jamba";
import { type Command, type CommandInput, modelAndTexts, readPiped, showToken } from "../command.ts";
import { UsageError } from "../errors.ts";
import { pages } from "../help.ts";
import { table } from "../layout.ts";
import { answerOptions, deviceOf, firstTokenOf, follow, resultDocument, speedOf, tokenizerOf, withModel } from "../model.ts";

/** What the small model was made for. */
const tinyPrompt = "Once upon a time";

export const run: Command = async (input) => {
  const { model, texts } = modelAndTexts(input.positionals, 1, pages.run.usage);
  const prompt = await promptOf(input, model, texts[0]);
  await withModel(input, model, (loaded) => answer(input, loaded, prompt));
  return undefined;
};

async function promptOf(input: CommandInput, model: string, text: string | undefined): Promise<Prompt> {
  const { ids, system } = input.flags;
  if (ids) {
    if (text !== undefined || system !== undefined)
      throw new UsageError("jamba run: --ids takes the place of PROMPT and --system; leave one out");
    return ids;
  }
  const isTiny = model === "tiny";
  const found = text ?? (await readPiped(input, isTiny)) ?? (isTiny ? tinyPrompt : undefined);
  if (found === undefined) {
    throw new UsageError(`jamba run: expected a prompt for ${model}, found none; pass PROMPT, pipe one in, or give --ids`);
  }
  if (system === undefined) return found;
  return [
    { role: "system", content: system },
    { role: "user", content: found },
  ];
}

async function answer(input: CommandInput, model: JambaModel, prompt: Prompt): Promise<void> {
  const { flags, interrupts, output } = input;
  const stream = model.stream(prompt, { ...answerOptions(flags), signal: interrupts.signal });
  const echo = typeof prompt === "string" && output.pictures ? prompt : "";
  await output.text(output.colors.dim(echo));
  let result: Result | undefined;
  try {
    result = await follow(stream, (part) => output.text(part.text));
    // Without a tokenizer the ids are all there is to read.
    if (!tokenizerOf(model)) await output.text(result.ids.join(" "));
  } finally {
    if (echo || result) await output.text("\n");
  }
  if (output.json) await output.document({ ...resultDocument(result), device: model.device });
  if (flags.logprobs) noteLogprobs(input, model, result);
  output.note([speedOf(result), firstTokenOf(result), deviceOf(model, flags)].join(" · "));
}

function noteLogprobs({ output }: CommandInput, model: JambaModel, { logprobs = [] }: Result): void {
  const tokenizer = tokenizerOf(model);
  const rows = logprobs.map(({ id, logprob }) => [String(id), logprob.toFixed(4), showToken(tokenizer, id)]);
  for (const line of table(rows, [0, 1])) output.note(line);
}
