// A long chat of many turns in which the person goes back and edits a message far above the end.

import { answerStart, beginId } from "../conversation.ts";
import { ask, type Stage } from "../stage.ts";

/** More follow the edited one than a peer keeps states. */
const turns = 128;
const said = 8;
const editedAt = 0.4;

export async function rollback({ engine, writer, tokens, figure }: Stage): Promise<void> {
  const turnTokens = Math.floor((tokens - 1) / turns);
  if (turnTokens < 32) throw new Error(`--tokens: expected room for ${turns} turns, found ${tokens}`);
  const message = () => [...writer.message("user", turnTokens - said - answerStart.length), ...answerStart];
  const ids = [beginId];
  const starts: number[] = [];
  for (let turn = 0; turn < turns; turn++) {
    starts.push(ids.length);
    ids.push(...message());
    const answer = writer.answer(said);
    await engine.reply(ids, answer);
    ids.push(...answer);
  }
  const edited = starts[Math.floor(turns * editedAt)] + Math.floor(turnTokens / 2);
  const { read, firstTokenMs } = await ask(engine, {
    ids: [...ids.slice(0, edited), ...writer.message("user", 20).slice(1), ...answerStart],
    answer: writer.answer(said),
  });
  await figure("rollback", firstTokenMs / 1000);
  await figure("rollback-read", read);
}
