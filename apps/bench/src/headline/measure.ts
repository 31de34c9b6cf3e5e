// What one model does after a context: a step of so many answers, and what one more token of a prompt takes.

import type { JambaModel } from "jamba";
import { writerOf } from "../conversation.ts";
import { randomState } from "../host-state.ts";
import { randomFrom } from "../random.ts";
import { speedOf } from "../stage.ts";

/** Tokens of each answer that are measured. */
const drawn = 24;
/** Tokens of a prompt that are read after the context. */
export const readTokens = 256;

/** Seconds of one step that draws a token of each of `batch` answers after `context` tokens, which are written and not read. */
export async function stepSeconds(model: JambaModel, context: number, batch: number): Promise<number> {
  const prompts = await contextsOf(model, context, batch);
  const times = prompts.map((): number[] => []);
  await Promise.all(
    prompts.map((ids, i) =>
      model.generate([...ids, 3], { temperature: 0, ignoreEos: true, maxTokens: drawn, onToken: () => times[i].push(performance.now()) }),
    ),
  );
  model.clearCache();
  return batch / speedOf(times);
}

/** Seconds for each token of a prompt at this depth. */
export async function readSeconds(model: JambaModel, depth: number): Promise<number> {
  const [ids] = depth > 0 ? await contextsOf(model, depth, 1) : [[]];
  const more = writerOf(randomFrom(depth + 1), model.config.vocabSize).text(readTokens);
  const start = performance.now();
  await model.generate([...ids, ...more], { temperature: 0, ignoreEos: true, maxTokens: 1 });
  const seconds = (performance.now() - start) / 1000;
  model.clearCache();
  return seconds / readTokens;
}

/** Prompts that the model takes for read: to read them would take hours. */
async function contextsOf(model: JambaModel, tokens: number, count: number): Promise<number[][]> {
  const random = randomFrom(tokens);
  const { text } = writerOf(random, model.config.vocabSize);
  const all: number[][] = [];
  while (all.length < count) {
    const ids = text(tokens);
    await model.keep(ids, randomState(model.config, tokens, random), { isOwn: true });
    all.push(ids);
  }
  return all;
}

/**
 * Seconds to read a prompt: what each token takes grows in a straight line with its depth, so between two depths that were measured it is
 * their mean.
 * @param depths rising, from 0 on
 */
export function promptSeconds(depths: readonly { readonly depth: number; readonly seconds: number }[], tokens: number): number {
  let sum = 0;
  for (let i = 1; i < depths.length && depths[i - 1].depth < tokens; i++) {
    const [from, to] = [depths[i - 1], depths[i]];
    const end = Math.min(to.depth, tokens);
    const atEnd = from.seconds + ((to.seconds - from.seconds) * (end - from.depth)) / (to.depth - from.depth);
    sum += ((from.seconds + atEnd) / 2) * (end - from.depth);
  }
  return sum;
}
