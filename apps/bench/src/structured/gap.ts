// Somebody else's answer while requests with formats arrive: the longest time between two of its tokens.

import type { JambaModel } from "jamba";
import { mainThreadMs } from "../machine.ts";
import { type Random, randomFrom } from "../random.ts";
import { median } from "../statistics.ts";
import { medianOf } from "./figures.ts";
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
  const alone = await other.gapsDuring(() => new Promise((resolve) => setTimeout(resolve, 2000)));
  told.note(`the other answer's own step: ${median(alone.map(({ ms }) => ms)).toFixed(1)} ms`);

  for (const count of [10, 128]) {
    const beyond = await beyondPlain(4 * job.rounds, (i) => ({ tools: newTools(count), toolChoice: i % 2 === 0 ? "auto" : "required" }));
    told.figure(
      medianOf(`another answer's longest gap, beyond that beside a plain request: ${count} unseen tools`, "ms", beyond.ms, target),
    );
    told.figure(medianOf(`the main thread's work in it: ${count} unseen tools`, "ms", beyond.busyMs, target));
  }
  const hostile: { name: string; ms: number; busyMs: number }[] = [];
  for (const name of hostileNames) {
    const { ms, busyMs } = await beyondPlain(job.rounds, () => ({ format: hostileFormat(name) }));
    hostile.push({ name, ms: median(ms), busyMs: median(busyMs) });
    told.note(`${name}: ${median(ms).toFixed(1)} ms, of the main thread ${median(busyMs).toFixed(1)}`);
  }
  for (const [what, of] of [
    ["another answer's longest gap, beyond that beside a plain request", "ms"],
    ["the main thread's work in it", "busyMs"],
  ] as const) {
    const worst = hostile.reduce((a, b) => (b[of] > a[of] ? b : a));
    told.figure(
      medianOf(
        `${what}: ${hostile.length} hostile formats`,
        "ms",
        hostile.map((one) => one[of]),
      ),
    );
    told.figure({ what: `${what}: ${worst.name}`, value: worst[of], unit: "ms", runs: job.rounds, target });
  }
  await other.end();
  await close();

  /** Against requests that arrive with as many words and no format, one before each. */
  async function beyondPlain(rounds: number, options: (i: number) => Options): Promise<{ ms: number[]; busyMs: number[] }> {
    const beyond = { ms: [] as number[], busyMs: [] as number[] };
    for (let i = 0; i < rounds; i++) {
      const asked = options(i); // made before: that holds the thread too
      const plain = await other.gapsDuring(() => arrive(model, random, {}));
      const found = await other.gapsDuring(() => arrive(model, random, asked));
      for (const of of ["ms", "busyMs"] as const) beyond[of].push(Math.max(0, longest(found, of) - longest(plain, of)));
    }
    return beyond;
  }
}

const longest = (gaps: readonly Gap[], of: keyof Gap) => Math.max(...gaps.map((gap) => gap[of]));

/** A request, whether it is answered or refused. */
async function arrive(model: JambaModel, random: Random, options: Options): Promise<void> {
  const ask = { temperature: 0, maxTokens: said, ignoreEos: true, ...options };
  await model.generate([{ role: "user", content: newText(random, asked) }], ask).catch((error) => {
    if (error?.code !== "OPTION") throw error;
  });
}

/** Between two tokens: how long it is, and for how much of it the main thread was running. */
interface Gap {
  readonly ms: number;
  readonly busyMs: number;
}

/** An answer without end: where it has used its room another one begins. */
function otherAnswer(model: JambaModel, random: Random) {
  const end = new AbortController();
  let last: Gap | undefined;
  let gaps: Gap[] | undefined;
  const onToken = () => {
    const at = { ms: performance.now(), busyMs: mainThreadMs() };
    if (last) gaps?.push({ ms: at.ms - last.ms, busyMs: at.busyMs - last.busyMs });
    last = at;
  };
  const running = (async () => {
    while (!end.signal.aborted) {
      last = undefined;
      const options = { temperature: 0, ignoreEos: true, maxTokens: contextLength - 64, onToken, signal: end.signal };
      await model.generate([{ role: "user", content: newText(random, asked) }], options);
    }
  })();
  return {
    /** While `run` runs, and until the first token afterwards. */
    async gapsDuring(run: () => Promise<unknown>): Promise<readonly Gap[]> {
      const seen: Gap[] = [];
      gaps = seen;
      await run();
      const before = seen.length;
      while (seen.length === before) await new Promise((resolve) => setTimeout(resolve, 1));
      gaps = undefined;
      return seen;
    },
    async end(): Promise<void> {
      end.abort();
      await running;
    },
  };
}
