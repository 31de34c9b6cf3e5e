// Eight answers at the same time: what one step for all of them is worth.

import { type Stage, speedOf } from "../stage.ts";

const sequences = 8;
/** Tokens of each answer. */
const said = 128;

export async function batch({ engine, writer, figure }: Stage): Promise<void> {
  const times = Array.from({ length: sequences }, (): number[] => []);
  const reply = (at: number[]) => engine.reply(writer.text(16), writer.answer(said), { onToken: () => at.push(performance.now()) });
  await Promise.all(times.map(reply));
  await figure("batch-8", speedOf(times));
}
