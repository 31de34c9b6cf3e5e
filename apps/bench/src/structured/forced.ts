// A JSON answer of a strict schema, with the tokens that can only be one read in one step, and with each drawn.

import type { Grammar } from "@jamba/grammar";
import { prepareSchema } from "@jamba/grammar";
import type { Tokenizer } from "@jamba/tokenizer";
import type { Format, JambaModel } from "jamba";
import { randomFrom } from "../random.ts";
import { median } from "../statistics.ts";
import { type Answer, answers } from "./answers.ts";
import { medianOf } from "./figures.ts";
import { newText, openModel, openVocabulary } from "./model.ts";
import type { PartJob, Told } from "./part.ts";
import { line } from "./schemas.ts";

const target = [">=", 1.2] as const;
/** Log probabilities with a stop text have every token drawn; nothing says this one. */
const drawEach = { logprobs: true, stop: "\u0000\u0001" } as const;

export async function forced(job: PartJob, told: Told): Promise<void> {
  const { model, close } = await openModel(job, 1024);
  const random = randomFrom(13);
  const vocabulary = openVocabulary(model.tokenizer);
  for (const answer of answers) {
    const { schema: narrowed } = prepareSchema(answer.schema, { strict: true, name: "schema" });
    const grammar = await vocabulary.compile(`start: " "? r0\nr0: %json ${JSON.stringify(narrowed)}`);
    const ids = await idsOf(grammar, model.tokenizer, line(answer.value));
    const format: Format = { type: "json", schema: answer.schema as object, strict: true };
    const say = (options: Options) => tokensPerSecond(model, newText(random, 16), ids, options);
    await measure(answer, ids.length, say, format);
  }
  await vocabulary.dispose();
  await close();

  async function measure({ name }: Answer, tokens: number, say: (options: Options) => Promise<Said>, format: Format): Promise<void> {
    await say({ format }); // compiles it
    const ways = { together: { format }, each: { format, ...drawEach }, free: {}, "free, each": drawEach };
    const speeds = { together: [] as number[], each: [] as number[], free: [] as number[], "free, each": [] as number[] };
    let forced = 0;
    for (let round = 0; round < job.rounds; round++) {
      const order = Object.keys(ways) as (keyof typeof ways)[];
      for (const way of round % 2 === 0 ? order : order.reverse()) {
        const said = await say(ways[way]);
        speeds[way].push(said.speed);
        if (way === "together") forced = said.forcedTokens;
      }
    }
    const ratios = (a: keyof typeof speeds, b: keyof typeof speeds) => speeds[a].map((speed, i) => speed / speeds[b][i]);
    const what = `${name}, ${tokens} tokens`;
    told.figure(medianOf(`${what}: forced tokens read together`, "tokens/s", speeds.together));
    told.figure(medianOf(`${what}: each drawn`, "tokens/s", speeds.each));
    told.figure(medianOf(`${what}: together against each`, "x", ratios("together", "each"), target));
    told.figure({ what: `${what}: forced`, value: (100 * forced) / tokens, unit: "%" });
    // What log probabilities cost beside is in the ratio too; this is how much.
    told.figure(medianOf(`${what}: without a format, with log probabilities against without`, "x", ratios("free, each", "free")));
    told.note(`${what}: ${median(speeds.free).toFixed(1)} tokens/s without a format`);
  }
}

type Options = NonNullable<Parameters<JambaModel["generate"]>[1]>;
type Said = { readonly speed: number; readonly forcedTokens: number };

/** Has the model say `ids`, whatever it would. @returns tokens per second of all that comes after the prompt */
async function tokensPerSecond(model: JambaModel, prompt: string, ids: readonly number[], options: Options): Promise<Said> {
  const logitBias: Record<number, number> = { [ids[0]]: 1e9 };
  let said = 0;
  const onToken = () => {
    delete logitBias[ids[said]];
    said++;
    if (said < ids.length) logitBias[ids[said]] = 1e9;
  };
  const asked = { temperature: 0, maxTokens: ids.length, ignoreEos: true, logitBias, onToken, ...options };
  const result = await model.generate([{ role: "user", content: prompt }], asked);
  if (result.ids.join() !== ids.join())
    throw new Error(`jamba: expected to say ${model.tokenizer.decode(ids)}, found ${result.text}: ${ids.join()} and ${result.ids.join()}`);
  const { totalMs, promptMs, forcedTokens } = result.timings;
  return { speed: (ids.length * 1000) / (totalMs - promptMs), forcedTokens };
}

/** Tokens that say `text` as the grammar has them: what is forced, and what the tokenizer would say between. The end is among them. */
async function idsOf(grammar: Grammar, tokenizer: Tokenizer, text: string): Promise<number[]> {
  const matcher = await grammar.start();
  const ids: number[] = [];
  try {
    while (!matcher.ended) {
      const sure = await matcher.forced();
      const rest = text.slice(tokenizer.decode(ids).length);
      const next = sure.length > 0 ? sure : [rest === "" ? tokenizer.eosId! : tokenizer.encode(rest)[0]];
      for (const id of next) await matcher.accept(id);
      ids.push(...next);
      if (!(text.startsWith(tokenizer.decode(ids)) || matcher.ended))
        throw new Error(`expected ${text}, found that the grammar wants ${tokenizer.decode(ids)}`);
    }
  } finally {
    matcher.dispose();
  }
  return ids;
}
