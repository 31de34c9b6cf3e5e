// A loaded model's speed: prompts that it has not seen, greedy answers of so many tokens.

import type { Backend, JambaModel } from "jamba";
import { type Random, randomFrom } from "../random.ts";
import { median } from "../statistics.ts";
import type { ModelJob, OpMs, Speeds } from "./sides.ts";

export async function measureModel(
  model: JambaModel,
  backend: Backend,
  { tokens, said, prompts, seed, profile }: ModelJob,
): Promise<{ speeds: Speeds; ops?: OpMs[] }> {
  const random = randomFrom(seed);
  const { vocabSize } = model.config;
  const ask = (maxTokens: number, length = tokens) => timed(model, randomIds(random, vocabSize, length), maxTokens);
  await ask(Math.ceil(said / 4), Math.ceil(tokens / 4)); // warms up, as the peer is
  const runs = [];
  for (let i = 0; i < prompts; i++) runs.push(await ask(said));
  const speeds = { prefill: median(runs.map(({ prefill }) => prefill)), decode: median(runs.map(({ decode }) => decode)) };
  return { speeds, ops: profile ? await byOp(backend, ask, said) : undefined };
}

const profiles = 5;

async function byOp(backend: Backend, ask: (maxTokens: number, length?: number) => Promise<unknown>, said: number): Promise<OpMs[]> {
  if (!backend.profile) return [];
  const [prefill, decode] = [new Map<string, number>(), new Map<string, number>()];
  // The least of each, for what others do only adds.
  const take = async (least: Map<string, number>, steps: number) => {
    for (const { op, ms } of await backend.profile!()) least.set(op, Math.min(least.get(op) ?? Number.POSITIVE_INFINITY, ms / steps));
  };
  for (let i = 0; i < profiles; i++) {
    await backend.profile();
    await ask(1);
    await take(prefill, 1);
    await ask(1 + said, 2);
    await take(decode, said);
  }
  const names = [...new Set([...prefill.keys(), ...decode.keys()])];
  return names.map((op) => ({ op, prefillMs: prefill.get(op) ?? 0, decodeMs: decode.get(op) ?? 0 }));
}

async function timed(model: JambaModel, prompt: string | number[], said: number): Promise<Speeds> {
  const start = performance.now();
  let [first, last] = [0, 0];
  const onToken = () => {
    last = performance.now();
    first ||= last;
  };
  const { usage } = await model.generate(prompt, { temperature: 0, maxTokens: said, ignoreEos: true, onToken });
  if (usage.completionTokens !== said || usage.cachedTokens > 1)
    throw new Error(`expected ${said} tokens after a new prompt, found ${JSON.stringify(usage)}`);
  return { prefill: (1000 * usage.promptTokens) / (first - start), decode: (1000 * (said - 1)) / (last - first) };
}

/** Behind what is special in any vocabulary here. */
export const firstText = 3 + 256;

function randomIds(random: Random, vocabSize: number, count: number): number[] {
  return Array.from({ length: count }, () => firstText + Math.floor(random() * (vocabSize - firstText)));
}

/** So many tokens with the first: words of three letters, each a token of the vocabulary in ../gguf.ts. */
export function randomText(random: Random, tokens: number): string {
  const letter = () => String.fromCharCode(97 + Math.floor(26 * random()));
  return Array.from({ length: tokens - 1 }, () => ` ${letter()}${letter()}${letter()}`).join("");
}
