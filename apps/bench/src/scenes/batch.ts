// Eight answers at the same time: what one step for all of them is worth.

import type { Stage } from "../stage.ts";

const sequences = 8;
/** Tokens of each answer. */
const said = 128;

/** Tokens per second of all, while all are being answered. */
export async function batch({ engine, writer, figure }: Stage): Promise<void> {
  const times = Array.from({ length: sequences }, (): number[] => []);
  const reply = (at: number[]) => engine.reply(writer.text(16), writer.answer(said), { onToken: () => at.push(performance.now()) });
  await Promise.all(times.map(reply));
  const start = Math.max(...times.map((at) => at[0]));
  const end = Math.min(...times.map((at) => at.at(-1)!));
  const drawn = times.flat().filter((at) => at > start && at <= end).length;
  await figure("batch-8", (drawn * 1000) / (end - start));
}
