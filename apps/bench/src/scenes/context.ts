// What one more token costs after a short and a long history. The history is imported: to read it would take an hour.

import type { JambaModel } from "jamba";
import { randomState } from "../host-state.ts";
import { randomFrom } from "../random.ts";
import type { Stage } from "../stage.ts";
import { median } from "../statistics.ts";

const short = 4096;
const drawn = 32;

export async function context({ engine, writer, tokens, figure }: Stage): Promise<void> {
  await figure("token-4096", await tokenMs(engine.model!, short, writer.text(drawn)));
  await figure("token", await tokenMs(engine.model!, tokens - drawn, writer.text(drawn)));
}

/** The median over `ids`, each read alone after `seen` others. */
async function tokenMs(model: JambaModel, seen: number, ids: readonly number[]): Promise<number> {
  const { config } = model;
  let { state } = await model.forward(ids.slice(0, 1), { state: randomState(config, seen - 1, randomFrom(5)) });
  const times: number[] = [];
  for (const id of ids.slice(1)) {
    const forkStart = performance.now();
    (await state.fork()).dispose(); // forward goes on from a copy, which decoding has no need of
    const start = performance.now();
    const next = await model.forward([id], { state });
    times.push(performance.now() - start - (start - forkStart));
    state.dispose();
    state = next.state;
  }
  state.dispose();
  return median(times);
}
