// The workloads of partly shared prefixes, counted: tokens read again, request by request.

import type { ReuseRow } from "../sides.ts";
import { ask, type Stage } from "../stage.ts";
import { expectationsOf, workloadsOf } from "../workloads.ts";

export async function reuse(stage: Stage): Promise<void> {
  const { rows, read } = await run(stage);
  await stage.figure("reuse", read);
  if (!stage.engine.keepEnds) return stage.tell({ kind: "reuse", rows });
  stage.engine.keepEnds();
  const byHand = (await run(stage)).rows;
  await stage.tell({ kind: "reuse", rows: rows.map((row, i) => ({ ...row, againByHand: byHand[i].again })) });
}

async function run({ engine, writer }: Stage): Promise<{ rows: ReuseRow[]; read: number }> {
  const rows: ReuseRow[] = [];
  let total = 0;
  for (const { name, requests } of workloadsOf(writer)) {
    const expected = expectationsOf(requests);
    const again: number[] = [];
    for (const [i, request] of requests.entries()) {
      const { read } = await ask(engine, request);
      again.push(Math.max(0, read - expected[i].fresh)); // with its logits kept, not even the last token is read
      total += read;
    }
    rows.push({ workload: name, again, target: expected.map((of) => of.again) });
  }
  return { rows, read: total };
}
