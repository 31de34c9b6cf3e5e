// The samplers that people use, one answer and eight at the same time: what each takes beside the same step drawn greedily.

import type { Sampler } from "../sides.ts";
import { type Stage, speedOf } from "../stage.ts";
import { median } from "../statistics.ts";
import { scenes } from "../works.ts";

const samplers = {
  greedy: { temperature: 0 },
  "top-p": { temperature: 0.7, topP: 0.9 },
  "top-k": { temperature: 0.7, topK: 40 },
  "min-p": { temperature: 0.7, minP: 0.05 },
  logprobs: { temperature: 0, topLogprobs: 20 },
} as const satisfies Record<string, Sampler>;
const names = Object.keys(samplers) as (keyof typeof samplers)[];

/** Tokens of an answer whose times count, after the first. */
const windowTokens = 32;
/** The samplers take turns, so that all meet a machine that is slower for a while; one that has taken so long takes no more. */
const laps = 7;
const enoughMs = 15_000;

/** The model says what it draws: to make it say something else is a sampler too, of ours. */
export async function sampling({ engine, writer, works, figure }: Stage): Promise<void> {
  for (const [group, answers] of [
    ["sampled", 1],
    ["sampled-8", scenes.sampling.sequences],
  ] as const) {
    const wanted = names.filter((name) => works.includes(`${group}-${name}`));
    if (wanted.length === 0) continue;
    const speeds = new Map(["greedy" as const, ...wanted].map((name) => [name, { found: [] as number[], ms: 0 }]));
    for (let lap = 0; lap < laps; lap++) {
      for (const [name, turn] of speeds) {
        if (turn.ms > enoughMs) continue;
        const start = performance.now();
        const times = Array.from({ length: answers }, (): number[] => []);
        const draw = (at: number[]) => engine.draw(writer.text(16), windowTokens + 1, samplers[name], () => at.push(performance.now()));
        await Promise.all(times.map(draw));
        turn.found.push(speedOf(times));
        turn.ms += performance.now() - start;
      }
    }
    const speed = (name: keyof typeof samplers) => median(speeds.get(name)!.found);
    for (const name of wanted) await figure(`${group}-${name}`, speed(name), name === "greedy" ? undefined : speed("greedy"));
  }
}
