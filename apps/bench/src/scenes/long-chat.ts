// A long chat at its end: a fork, the next turn, the last one edited, the last one answered again.

import type { JambaModel } from "jamba";
import { answerStart, beginId } from "../conversation.ts";
import { randomState } from "../host-state.ts";
import { randomFrom } from "../random.ts";
import { ask, type Stage } from "../stage.ts";
import { median } from "../statistics.ts";

const turnTokens = 2000;
const said = 8;
const asked = 40;

export async function longChat({ engine, writer, tokens, figure }: Stage): Promise<void> {
  await figure("fork", await forkMs(engine.model!, tokens));

  const ids = [beginId];
  while (ids.length + turnTokens <= tokens) {
    ids.push(...writer.message("user", turnTokens - said - answerStart.length), ...answerStart, ...writer.answer(said));
  }
  // As if the chat had been read, which takes a quarter of an hour: an answer's last token is read with the next turn.
  const { config } = engine.model!;
  await engine.model!.keep(ids.slice(0, -1), randomState(config, ids.length - 1, randomFrom(6)), { isOwn: true });
  const question = () => [...writer.message("user", asked), ...answerStart];
  const seconds = async (prompt: readonly number[]) =>
    (await ask(engine, { ids: prompt, answer: writer.answer(said) })).firstTokenMs / 1000;
  const last = [...ids, ...question()];
  await figure("next-turn", await seconds(last));
  await figure("regenerate", await seconds(last));
  await figure("edit", await seconds([...ids, ...last.slice(ids.length, -asked / 2), ...question().slice(asked / 2)]));
}

/** Of an imported state: what a session's fork copies. */
async function forkMs(model: JambaModel, seen: number): Promise<number> {
  const { state } = await model.forward([1], { state: randomState(model.config, seen - 1, randomFrom(5)) });
  const times: number[] = [];
  while (times.length < 9) {
    const start = performance.now();
    (await state.fork()).dispose();
    times.push(performance.now() - start);
  }
  state.dispose();
  return median(times);
}
