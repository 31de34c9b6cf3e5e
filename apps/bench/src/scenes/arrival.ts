// Short requests that arrive while a long prompt is being read: how many of their own steps they wait.

import { setTimeout } from "node:timers/promises";
import { ask, type Stage } from "../stage.ts";
import { median } from "../statistics.ts";

/** Tokens of a short request. */
const short = 20;

/** They are fewer than the sequences of the scene: the peer's sequences are best when they are empty. */
const requests = { alone: 4, meanwhile: 8 };

export async function arrival({ engine, writer, tokens, figure }: Stage): Promise<void> {
  const waitMs = async () => (await ask(engine, { ids: writer.text(short), answer: writer.answer(1) })).firstTokenMs;
  const alone: number[] = [];
  while (alone.length < requests.alone) alone.push(await waitMs());
  const stepMs = median(alone.slice(1)); // the first one prepares what the others use

  let reading = true;
  const long = engine.reply(writer.text(tokens), writer.answer(1)).finally(() => {
    reading = false;
  });
  const waits: number[] = [];
  while (waits.length < requests.meanwhile) {
    await setTimeout(4 * stepMs * Math.random()); // at any moment of a step
    if (!reading) break;
    waits.push((await waitMs()) / stepMs);
  }
  await long;
  await figure("arrival", median(waits));
  await figure("arrival-worst", Math.max(...waits));
}
