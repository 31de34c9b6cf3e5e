// Random schedules of everything that callers can do at once, on models with little room: whatever is finished is what it would be
// alone, and nothing stays behind. JAMBA_SCHEDULES says how many, JAMBA_SCHEDULE which one alone.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { type Backend, JambaError } from "@jamba/core";
import { afterAll, expect, test } from "vitest";
import {
  type GenerateOptions,
  type JambaModel,
  type LoadOptions,
  loadModel,
  type Prompt,
  type Result,
  type Session,
} from "../src/index.ts";
import { cpuAbsent, openCpu } from "./golden.ts";
import { randomOf } from "./random.ts";

const count = Number(process.env.JAMBA_SCHEDULES ?? 40);
const only = process.env.JAMBA_SCHEDULE;
const contextLength = 160;
/** Of the whole schedule. */
const mostActors = 5;

const disposables: (() => unknown)[] = [];
afterAll(async () => {
  for (const dispose of disposables.reverse()) await dispose();
});

async function open(options: LoadOptions = {}): Promise<JambaModel> {
  const model = await loadModel("tiny", { backend: "cpu", contextLength, ...options });
  disposables.push(() => model.dispose());
  return model;
}

/** A device with room for so many states. */
async function openSmall(slots: number, pages: number): Promise<Backend> {
  const backend = await openCpu();
  disposables.push(() => backend.dispose());
  const { createStates } = backend;
  backend.createStates = async (spec) => {
    const store = await createStates.call(backend, spec);
    const { reserve } = store;
    store.reserve = async (nSlots, nPages) => {
      if (nSlots > slots || nPages > pages) throw new JambaError("OUT_OF_MEMORY", "the device of this test is full");
      await reserve.call(store, nSlots, nPages);
    };
    return store;
  };
  return backend;
}

// Prompts that begin like each other, end in each other, and end messages (4) here and there.
const base = Array.from({ length: 120 }, (_, i) => (i % 23 === 22 ? 4 : 300 + ((i * i * 31 + i * 7) % 1700)));
const prompts: readonly Prompt[] = [
  ...[1, 3, 23, 64, 65, 119].map((at) => base.slice(0, at)),
  ...[2, 40, 63, 64, 100].map((at) => [...base.slice(0, at), 500, 501, 502]),
  [...base.slice(0, 40), 500, 600],
  "Once upon a time",
  "red fox, blue owl, red fox, blue owl, red",
];
const answers: readonly GenerateOptions[] = [
  { maxTokens: 1 },
  { maxTokens: 6 },
  { maxTokens: 5, topLogprobs: 1 },
  { maxTokens: 6, temperature: 1, seed: 1 },
  { maxTokens: 6, temperature: 1.3, seed: 2, repetitionPenalty: 1.2, stop: ["the", ","] },
  { maxTokens: 60 },
];
/** What must not change an answer. */
const manners: readonly GenerateOptions[] = [
  {},
  {},
  { priority: 2 },
  { priority: -1 },
  { promptLookup: { ngram: 1 } },
  { promptLookup: { ngram: 2, maxTokens: 3 } },
  { timeoutMs: 60_000 },
];
const says = ["Hi", "Who are you?", "A fox!"];
const turns: readonly GenerateOptions[] = [{ maxTokens: 4 }, { maxTokens: 6, temperature: 1, seed: 5 }];

/** What is asked of a session, in order. */
type Step = readonly [text: string, options: GenerateOptions] | readonly [rewindTo: number];

const essence = ({ text, ids, finishReason, stopString, logprobs }: Result) => ({ text, ids, finishReason, stopString, logprobs });
type Essence = ReturnType<typeof essence>;

let alone: JambaModel;
const known = new Map<string, Promise<Essence>>();
/** Calls alone come one after another. */
let line: Promise<unknown> = Promise.resolve();

function remembered(key: unknown, find: () => Promise<Result>): Promise<Essence> {
  const name = JSON.stringify(key);
  let found = known.get(name);
  if (!found) {
    found = line.then(find).then(essence);
    line = found.catch(() => undefined);
    known.set(name, found);
  }
  return found;
}

const answerAlone = (prompt: Prompt, options: GenerateOptions) => remembered([prompt, options], () => alone.generate(prompt, options));

/** The last of these turns, by a session that does nothing else. */
function turnAlone(steps: readonly Step[]): Promise<Essence> {
  return remembered(steps, async () => {
    const session = alone.session();
    let result: Result | undefined;
    for (const step of steps) {
      if (step.length === 1) await session.rewind(step[0]);
      else result = await session.send(...step);
    }
    await session.dispose();
    return result!;
  });
}

interface Mine {
  readonly session: Session;
  steps: readonly Step[];
}

interface Place {
  readonly name: string;
  readonly model: JambaModel;
  /** States may find no room. */
  readonly isFull?: boolean;
  /** Bytes that states and calls come to at most. */
  readonly mostBytes?: number;
}

class Schedule {
  readonly #place: Place;
  readonly #folder: string;
  readonly #random: (below: number) => number;
  readonly #sessions: Mine[] = [];
  /** In the middle of something. */
  readonly #busy = new Set<Session>();
  readonly done = { finished: 0, cancelled: 0, refused: 0 };
  #saved = 0;

  constructor(place: Place, folder: string, seed: number) {
    this.#place = place;
    this.#folder = join(folder, String(seed));
    this.#random = randomOf(seed);
  }

  async run(): Promise<void> {
    const actors = 1 + this.#random(mostActors);
    await Promise.all(Array.from({ length: actors }, () => this.#act(1 + this.#random(3))));
    for (const { session } of this.#sessions) await session.dispose();
    const { model, mostBytes } = this.#place;
    // On their way to the disk they still count.
    for (let ms = 0; ms < 5000 && model.inUse().slots > 0; ms++) await sleep(1);
    expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
    expect(model.calls()).toEqual({ running: 0, waiting: 0 });
    if (mostBytes !== undefined) expect(model.memory().stateBytes).toBeLessThanOrEqual(mostBytes);
    if (this.#random(4) === 0) model.clearCache();
    else return;
    expect(model.cached()).toEqual({ states: 0, bytes: 0 });
  }

  /** Numbers are drawn before anything is waited for, so that a schedule asks the same whatever comes first. */
  async #act(actions: number): Promise<void> {
    const plan = Array.from({ length: actions }, () => [this.#random(60), this.#random(10), this.#random(2 ** 30)] as const);
    for (const [wait, kind, seed] of plan) {
      for (let i = 0; i < wait; i++) await turn();
      const random = randomOf(seed);
      try {
        if (kind < 5) await this.#generate(random);
        else if (kind < 9) await this.#converse(random);
        else this.#place.model.clearCache();
      } catch (error) {
        if (!(this.#place.isFull && error instanceof JambaError && error.code === "OUT_OF_MEMORY")) throw error;
        this.done.refused++;
      }
    }
  }

  async #generate(random: (below: number) => number): Promise<void> {
    const one = <T>(of: readonly T[]) => of[random(of.length)];
    const prompt = one(prompts);
    const options = { ...one(answers), ignoreEos: true };
    const n = random(4) === 0 ? 2 + random(2) : 1;
    const manner = one(manners);
    const result = await this.#finish(random, (signal) => this.#place.model.stream(prompt, { ...options, ...manner, n, signal }));
    const choices = result ? (result.choices ?? [result]) : [];
    for (const [i, choice] of choices.entries()) {
      const seeded = options.seed === undefined ? options : { ...options, seed: options.seed + i };
      this.#compare(choice, await answerAlone(prompt, seeded));
    }
  }

  async #converse(random: (below: number) => number): Promise<void> {
    const { model } = this.#place;
    let mine = this.#sessions[random(this.#sessions.length + 2)];
    if (!mine) {
      mine = { session: model.session(), steps: [] };
      this.#sessions.push(mine);
    }
    // What another is in the middle of saying there is not known here.
    if (this.#busy.has(mine.session)) return;
    const kind = random(6);
    this.#busy.add(mine.session);
    try {
      await this.#use(mine, kind, random);
    } finally {
      this.#busy.delete(mine.session);
    }
  }

  async #use(mine: Mine, kind: number, random: (below: number) => number): Promise<void> {
    if (kind === 0) {
      const { session, steps } = mine;
      const fork = await session.fork();
      this.#sessions.push({ session: fork, steps });
    } else if (kind === 1) {
      const to = random(mine.session.messages.length + 1);
      await mine.session.rewind(to);
      mine.steps = [...mine.steps, [to]];
    } else if (kind === 2) {
      const path = `${this.#folder}-${this.#saved++}`;
      const { session, steps } = mine;
      await session.save(path);
      this.#sessions.push({ session: await this.#place.model.openSession(path), steps });
      await rm(path);
    } else if (mine.steps.length < 5) {
      const text = says[random(says.length)];
      const options = turns[random(turns.length)];
      const steps = [...mine.steps, [text, options] as const];
      const result = await this.#finish(random, (signal) => mine.session.stream(text, { ...options, signal }));
      if (!result) return;
      this.#compare(result, await turnAlone(steps));
      if (result.finishReason !== "cancelled") mine.steps = steps;
      else {
        // A cut answer stands in the session: nothing is known of what would follow.
        this.#sessions.splice(this.#sessions.indexOf(mine), 1);
        await mine.session.dispose();
      }
    }
  }

  /** To the end, or to a cancel by signal or by leaving the loop, at any time. @returns nothing when it was cancelled before the first token */
  async #finish(
    random: (below: number) => number,
    start: (signal: AbortSignal) => AsyncIterable<unknown> & { readonly result: Promise<Result> },
  ): Promise<Result | undefined> {
    const stop = new AbortController();
    const stream = start(stop.signal);
    const how = random(8);
    const after = random(how < 2 ? 60 : 4);
    try {
      if (how === 0 || how === 1) {
        const result = stream.result;
        result.catch(() => undefined);
        for (let i = 0; i < after; i++) await turn();
        stop.abort(new Error("enough"));
        return await result;
      }
      if (how === 2) {
        let parts = 0;
        for await (const _ of stream) if (parts++ >= after) break;
      } else if (how === 3) {
        // A reader who takes its time.
        for await (const _ of stream) for (let i = 0; i < after; i++) await turn();
      }
      return await stream.result;
    } catch (error) {
      if (error !== stop.signal.reason) throw error;
      this.done.cancelled++;
      return undefined;
    }
  }

  #compare(found: Result, expected: Essence): void {
    if (found.finishReason === "cancelled") {
      this.done.cancelled++;
      expect(expected.ids.slice(0, found.ids.length)).toEqual(found.ids);
      expect(expected.text.startsWith(found.text.replace(/\ufffd+$/, ""))).toBe(true);
      return;
    }
    this.done.finished++;
    expect(essence(found)).toEqual(expected);
  }
}

test(`${only ? `schedule ${only}` : `${count} schedules`}: what is finished is what it is alone, nothing is left over`, async ({
  skip,
}) => {
  if (cpuAbsent) skip(cpuAbsent);
  const folder = await mkdtemp(join(tmpdir(), "jamba-schedules-"));
  disposables.push(() => rm(folder, { recursive: true, force: true }));
  alone = await open({ cache: { bytes: 0 } });
  const large = await open();
  await large.generate(base.slice(0, 100), { maxTokens: 1 });
  const stateBytes = (2 * large.cached().bytes) / large.cached().states;
  // Of each call: its sequence, a copy in a step, one that is kept, one with drafts; three for `n`; a session's.
  const mostBytes = (bytes: number) => bytes + 3 * 4 * mostActors * stateBytes;
  const small = 3 * stateBytes;
  const places: readonly Place[] = [
    { name: "large", model: large },
    { name: "no cache", model: await open({ cache: { bytes: 0 } }), mostBytes: mostBytes(0) },
    { name: "small cache", model: await open({ cache: { bytes: small } }), mostBytes: mostBytes(small) },
    { name: "one at a time", model: await open({ limits: { sequences: 1 }, cache: { bytes: small } }), mostBytes: mostBytes(small) },
    { name: "few at a time", model: await open({ limits: { tokens: 250 } }) },
    { name: "full", model: await open({ backend: await openSmall(8, 16) }), isFull: true },
    { name: "fuller", model: await open({ backend: await openSmall(4, 16) }), isFull: true },
    {
      name: "disk",
      model: await open({ cache: { bytes: small, dir: join(folder, "states") } }),
      mostBytes: mostBytes(small + 8 * stateBytes),
    },
  ];
  const sum = { finished: 0, cancelled: 0, refused: 0 };
  const first = only ? Number(only) : 0;
  const start = performance.now();
  for (let seed = first; seed < (only ? first + 1 : count); seed++) {
    const place = places[seed % places.length];
    const schedule = new Schedule(place, folder, seed);
    let timer: NodeJS.Timeout | undefined;
    const hangs = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("it hangs")), 60_000);
    });
    await Promise.race([schedule.run(), hangs]).catch((error) => {
      throw new Error(`schedule ${seed} (${place.name}): ${error.message}`, { cause: error });
    });
    clearTimeout(timer);
    for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += schedule.done[name];
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  if (process.env.JAMBA_SCHEDULES) process.stdout.write(`${JSON.stringify(sum)} in ${seconds} s; ${known.size} answers alone\n`);
  if (only) return;
  expect(sum.finished).toBeGreaterThan(count);
  expect(sum.cancelled).toBeGreaterThan(0);
  // Every last one.
  for (const { model } of places) {
    model.clearCache();
    expect(model.cached()).toEqual({ states: 0, bytes: 0 });
    for (let ms = 0; ms < 5000 && model.inUse().slots > 0; ms++) await sleep(1);
    expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
  }
  expect(alone.inUse()).toEqual({ slots: 0, pages: 0 });
}, 3_600_000);
