// What a scene is given, and one request on it.

import type { Request, Writer } from "./conversation.ts";
import type { LoadedSide, Report, Turn } from "./sides.ts";
import type { Work } from "./works.ts";

export interface Stage {
  readonly engine: LoadedSide;
  readonly writer: Writer;
  /** Of the longest conversation. */
  readonly tokens: number;
  /** What is asked for; other figures are not told. */
  readonly works: readonly Work[];
  /** `base`: what a share of is shown. */
  figure(work: Work, value: number, base?: number): Promise<void>;
  tell(report: Report): Promise<void>;
}

export async function ask(engine: LoadedSide, { ids, answer }: Request): Promise<Turn> {
  const start = performance.now();
  let firstTokenMs: number | undefined;
  const onToken = () => {
    firstTokenMs ??= performance.now() - start;
  };
  const read = await engine.reply(ids, answer, { onToken });
  return { tokens: ids.length, read, firstTokenMs: firstTokenMs!, totalMs: performance.now() - start };
}

/** Tokens per second of all answers while all are being given. `times`: ms at which each had its tokens. */
export function speedOf(times: readonly (readonly number[])[]): number {
  const start = Math.max(...times.map((at) => at[0]));
  const end = Math.min(...times.map((at) => at.at(-1)!));
  const drawn = times.flat().filter((at) => at > start && at <= end).length;
  return (drawn * 1000) / (end - start);
}
