// Somebody else's answer while requests with formats arrive: the longest time between two of its tokens.

import type { JambaModel } from "jamba";
import { type Random, randomFrom } from "../random.ts";
import { median } from "../statistics.ts";
import { medianOf, quantile } from "./figures.ts";
import { newText, openModel } from "./model.ts";
import type { PartJob, Told } from "./part.ts";
import { hostileFormat, hostileNames, newTools } from "./tools.ts";

type Options = Parameters<JambaModel["generate"]>[1];

const contextLength = 16_384;
/** Tokens of a request that arrives: few, so that its prompt holds nobody. */
const asked = 4;
const said = 4;
const target = ["<=", 20] as const;

export async function gap(job: PartJob, told: Told): Promise<void> {
  const { model, close } = await openModel(job, contextLength);
  const random = randomFrom(12);
  const other = otherAnswer(model, random);
  await arrive(model, random, {}); // plans of steps
  await arrive(model, random, { format: { type: "json", schema: { const: "once" } } });
  const stepMs = await other.longest(() => new Promise((resolve) => setTimeout(resolve, 2000)), 0.5);
  told.note(`the other answer's own step: ${stepMs.toFixed(1)} ms`);

  const rounds = 4 * job.rounds;
  for (const count of [10, 128])
    await measure(`${count} unseen tools`, rounds, (i) => ({ tools: newTools(count), toolChoice: i % 2 === 0 ? "auto" : "required" }));
  const worst: [name: string, beyond: number][] = [];
  for (const name of hostileNames) {
    const beyond = await beyondOthers(job.rounds, () => ({ format: hostileFormat(name) }));
    worst.push([name, median(beyond)]);
  }
  told.figure(medianOf("another answer's longest gap beyond that of a plain request: hostile formats", "ms", of(worst)));
  const [name, value] = worst.reduce((a, b) => (b[1] > a[1] ? b : a));
  told.figure({ what: `the worst of them, ${name}`, value, unit: "ms", runs: job.rounds, target });
  for (const [name, beyond] of worst) told.note(`${name}: ${beyond.toFixed(1)} ms`);
  await other.end();
  await close();

  async function measure(what: string, rounds: number, options: (i: number) => Options): Promise<void> {
    const beyond = await beyondOthers(rounds, options);
    told.figure(medianOf(`another answer's longest gap beyond that of a plain request: ${what}`, "ms", beyond, target));
  }

  /** Against requests that arrive with the same words and no format, one after each. */
  async function beyondOthers(rounds: number, options: (i: number) => Options): Promise<number[]> {
    const beyond: number[] = [];
    for (let i = 0; i < rounds; i++) {
      const asked = options(i); // made before: that holds the thread too
      const plain = await other.longest(() => arrive(model, random, {}), 1);
      const longest = await other.longest(() => arrive(model, random, asked), 1);
      beyond.push(Math.max(0, longest - plain));
    }
    return beyond;
  }
}

/** A request, whether it is answered or refused. */
async function arrive(model: JambaModel, random: Random, options: Options): Promise<void> {
  const ask = { temperature: 0, maxTokens: said, ignoreEos: true, ...options };
  await model.generate([{ role: "user", content: newText(random, asked) }], ask).catch((error) => {
    if (error?.code !== "OPTION") throw error;
  });
}

/** An answer without end: where it has used its room another one begins. */
function otherAnswer(model: JambaModel, random: Random) {
  const end = new AbortController();
  let last = 0;
  let gaps: number[] | undefined;
  const onToken = () => {
    const at = performance.now();
    if (last > 0) gaps?.push(at - last);
    last = at;
  };
  const running = (async () => {
    while (!end.signal.aborted) {
      last = 0;
      const options = { temperature: 0, ignoreEos: true, maxTokens: contextLength - 64, onToken, signal: end.signal };
      await model.generate([{ role: "user", content: newText(random, asked) }], options);
    }
  })();
  return {
    /** Of the gaps while `run` runs and until the first token afterwards, the one below which this share lies. */
    async longest(run: () => Promise<unknown>, share: number): Promise<number> {
      const seen: number[] = [];
      gaps = seen;
      await run();
      const before = seen.length;
      while (seen.length === before) await new Promise((resolve) => setTimeout(resolve, 1));
      gaps = undefined;
      return quantile(seen, share);
    },
    async end(): Promise<void> {
      end.abort();
      await running;
    },
  };
}

const of = (pairs: readonly (readonly [string, number])[]) => pairs.map(([, value]) => value);
