// A conversation that grows: each turn adds a message to all that was said before.

import { answerStart, beginId } from "../conversation.ts";
import type { Turn } from "../sides.ts";
import { ask, type Stage } from "../stage.ts";

const turns = 20;
/** Tokens of each answer. */
const said = 32;

export async function chat({ engine, writer, tokens, figure, tell }: Stage): Promise<void> {
  const asked = Math.floor((tokens - 1) / turns) - said - answerStart.length;
  if (asked < 3) throw new Error(`--tokens: expected room for ${turns} turns, found ${tokens}`);
  const ids = [beginId];
  const done: Turn[] = [];
  while (done.length < turns) {
    ids.push(...writer.message("user", asked), ...answerStart);
    const answer = writer.answer(said);
    done.push(await ask(engine, { ids, answer }));
    ids.push(...answer);
  }
  const sum = (of: (turn: Turn) => number) => done.reduce((total, turn) => total + of(turn), 0);
  await figure("chat", sum((turn) => turn.totalMs) / 1000);
  await figure(
    "chat-read",
    sum((turn) => turn.read + said - 1),
  ); // answers are read as they are said
  await tell({ kind: "turns", turns: done });
}
