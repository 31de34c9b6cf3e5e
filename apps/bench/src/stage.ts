// What a scene is given, and one request on it.

import type { Request, Writer } from "./conversation.ts";
import type { Engine, Report, Turn } from "./engine.ts";
import type { Work } from "./works.ts";

export interface Stage {
  readonly engine: Engine;
  readonly writer: Writer;
  /** Of the longest conversation. */
  readonly tokens: number;
  figure(work: Work, value: number): Promise<void>;
  tell(report: Report): Promise<void>;
}

export async function ask(engine: Engine, { ids, answer }: Request): Promise<Turn> {
  const start = performance.now();
  let firstTokenMs: number | undefined;
  const onToken = () => {
    firstTokenMs ??= performance.now() - start;
  };
  const read = await engine.reply(ids, answer, { onToken });
  return { tokens: ids.length, read, firstTokenMs: firstTokenMs!, totalMs: performance.now() - start };
}
