// What scoring a long text takes beside the model.

import { beginId } from "../conversation.ts";
import { peakBytes, resetPeak } from "../machine.ts";
import type { Stage } from "../stage.ts";

/** Enough to read every expert, whose pages count as the model's only from then on. */
const warmTokens = 512;

export async function score({ engine, writer, tokens, figure }: Stage): Promise<void> {
  const model = engine.model!;
  await model.generate(writer.text(warmTokens), { maxTokens: 1 });
  model.clearCache();
  const before = resetPeak();
  const { logprob } = await model.score([beginId], writer.text(tokens - 1));
  if (!Number.isFinite(logprob)) throw new Error(`jamba: expected a finite log probability, found ${logprob}`);
  await figure("score-memory", (peakBytes() - before) / 1e6);
}
