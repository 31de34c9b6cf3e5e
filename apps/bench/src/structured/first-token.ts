// How much later the first token comes when tools that were never seen are to be followed.

import type { JambaModel } from "jamba";
import { randomFrom } from "../random.ts";
import { median } from "../statistics.ts";
import { medianOf } from "./figures.ts";
import { newText, openModel } from "./model.ts";
import type { PartJob, Told } from "./part.ts";
import { newTools } from "./tools.ts";

/** Letters of the prompt, each a token or so: few, for its own time varies too. */
const asked = 16;
const counts = [1, 10, 40, 128];
const choices = ["auto", "required"] as const;
/** As the issue has it. */
const target = ["<=", 80] as const;

export async function firstToken(job: PartJob, { figure, note }: Told): Promise<void> {
  const { model, close } = await openModel(job, 1024);
  const random = randomFrom(11);
  const ask = (options: Parameters<JambaModel["generate"]>[1]) => firstTokenOf(model, newText(random, asked), options);
  for (let i = 0; i < 3; i++) await ask({}); // plans of steps
  const alone: number[] = [];
  for (const count of counts) {
    for (const toolChoice of choices) {
      const beyond: number[] = [];
      const formatMs: number[] = [];
      for (let round = 0; round < 4 * job.rounds; round++) {
        const withTools = () => ask({ tools: newTools(count), toolChoice });
        // Pairs, each in the other order: the machine's speed drifts.
        const first = round % 2 === 0 ? await withTools() : undefined;
        const without = await ask({});
        const { ms, format } = first ?? (await withTools());
        alone.push(without.ms);
        beyond.push(ms - without.ms);
        formatMs.push(format);
      }
      const what = `${count} ${count === 1 ? "tool" : "tools"} of 5 fields, ${toolChoice}`;
      figure(medianOf(`${what}: first token beyond the prompt's`, "ms", beyond, count === 10 ? target : undefined));
      figure(medianOf(`${what}: timings.formatMs`, "ms", formatMs));
    }
  }
  note(`the prompt alone: ${median(alone).toFixed(1)} ms to its first token`);
  await close();
}

async function firstTokenOf(model: JambaModel, content: string, options: Parameters<JambaModel["generate"]>[1]) {
  const start = performance.now();
  let ms: number | undefined;
  const onToken = () => {
    ms ??= performance.now() - start;
  };
  const { timings } = await model.generate([{ role: "user", content }], {
    temperature: 0,
    maxTokens: 1,
    ignoreEos: true,
    onToken,
    ...options,
  });
  return { ms: ms!, format: timings.formatMs };
}
