// A text given back with a change here and there, with and without guessing ahead from the prompt.

import type { Stage } from "../stage.ts";

const copied = 256;
/** Tokens between two changes. */
const between = 32;

export async function copy({ engine, writer, figure }: Stage): Promise<void> {
  for (const [work, promptLookup] of [
    ["copy-plain", false],
    ["copy", true],
  ] as const) {
    const text = writer.text(copied);
    const changed = text.map((id, i) => (i % between === between - 1 ? writer.text(1)[0] : id));
    const times: number[] = [];
    await engine.reply([...text, ...writer.text(16)], changed, { promptLookup, onToken: () => times.push(performance.now()) });
    await figure(work, ((copied - 1) * 1000) / (times.at(-1)! - times[0]));
  }
}
