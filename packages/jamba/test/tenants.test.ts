// Two tenants in one model: what one is answered is what it would be answered if the other were not there. JAMBA_SCHEDULES says how many
// schedules, JAMBA_SCHEDULE which one alone.

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { JambaError } from "@jamba/core";
import { afterAll, expect, test, vi } from "vitest";
import { type JambaModel, type LoadOptions, loadModel, type Result, type Session, type Tenant } from "../src/index.ts";
import { cpuAbsent, goldenFolder } from "./golden.ts";
import { randomOf } from "./random.ts";

const count = Number(process.env.JAMBA_SCHEDULES ?? 200);
const only = process.env.JAMBA_SCHEDULE;

const disposables: (() => unknown)[] = [];
afterAll(async () => {
  for (const dispose of disposables.reverse()) await dispose();
});

async function open(source: string, options: LoadOptions = {}): Promise<JambaModel> {
  const model = await loadModel(source, { backend: "cpu", contextLength: 160, ...options });
  disposables.push(() => model.dispose());
  return model;
}

/** What a call tells. */
const told = ({ ids, finishReason, usage, cacheMissReason, choices }: Result) => ({
  ids: choices?.map((choice) => choice.ids) ?? ids,
  finishReason,
  // Whether one of several answers came soon enough to share a short prompt is chance.
  ...(!choices && { cachedTokens: usage.cachedTokens, cacheMissReason }),
});

/** What one tenant does, one thing after another: the same whoever else is there. */
class Acts {
  readonly told: unknown[] = [];
  readonly #model: JambaModel;
  readonly #tenant: Tenant;
  readonly #talks: boolean;
  readonly #random: (below: number) => number;
  readonly #sessions: Session[] = [];

  constructor(model: JambaModel, tenant: Tenant, seed: number) {
    this.#model = model;
    this.#tenant = tenant;
    // The small model has no tokenizer.
    this.#talks = model.config.vocabSize > 1000;
    this.#random = randomOf(seed);
  }

  async run(actions: number, pause: () => Promise<unknown>): Promise<void> {
    for (let n = 0; n < actions; n++) {
      await pause();
      try {
        this.told.push(await this.#act());
      } catch (error) {
        if (!(error instanceof JambaError)) throw error;
        this.told.push(error.code);
      }
    }
    for (const session of this.#sessions) await session.dispose();
  }

  /** Prompts of few kinds, so that both tenants have the same ones and beginnings of each other's. */
  get #prompt(): number[] {
    const { vocabSize } = this.#model.config;
    const kind = this.#random(3);
    const length = [1, 3, 17, 40, 64, 65, 100, 161][this.#random(8)];
    return Array.from({ length }, (_, i) => 3 + ((i * i * 31 + i * 7 + (i < 20 ? 0 : kind * 5)) % (vocabSize - 3)));
  }

  async #act(): Promise<unknown> {
    const options = { tenant: this.#tenant, maxTokens: 1 + this.#random(4), ignoreEos: true };
    const kind = this.#random(this.#talks ? 10 : 6);
    if (kind === 0) return told(await this.#model.generate(this.#prompt, { ...options, n: 2 }));
    if (kind === 1) {
      const { logprob } = await this.#model.score(this.#prompt, [5, 6], { tenant: this.#tenant, keep: true });
      return logprob;
    }
    if (kind === 2) return this.#cancelled(options);
    if (kind < 6) return told(await this.#model.generate(this.#prompt, options));
    return this.#converse(kind);
  }

  /** Left after so many tokens. */
  async #cancelled(options: object): Promise<unknown> {
    const after = this.#random(3);
    const stream = this.#model.stream(this.#prompt, { ...options, maxTokens: 20 });
    let tokens = 0;
    if (after > 0) {
      for await (const { ids } of stream) {
        tokens += ids.length;
        if (tokens >= after) break;
      }
    }
    return told(await stream.result).cachedTokens;
  }

  async #converse(kind: number): Promise<unknown> {
    if (kind === 6 || this.#sessions.length === 0) {
      const system = ["", "Be kind. ".repeat(8)][this.#random(2)];
      this.#sessions.push(this.#model.session({ tenant: this.#tenant, ...(system && { system }) }));
    }
    const session = this.#sessions[this.#random(this.#sessions.length)];
    if (kind === 7) this.#sessions.push(await session.fork());
    if (kind === 8) await session.rewind(Math.min(1, session.messages.length));
    return told(await session.send(["Hi", "Who are you?"][this.#random(2)], { maxTokens: 3 }));
  }
}

const sharings = [undefined, "none", "none", "system", "all"] as const;

async function runSchedule(model: JambaModel, seed: number): Promise<void> {
  const random = randomOf(seed);
  const [mine, others] = [random(2 ** 30), random(2 ** 30)];
  const actions = 2 + random(5);
  const shares = sharings[random(3)];
  // Who shares nothing hears nothing of those who share all.
  const otherShares = sharings[random(sharings.length)];
  // Names of their own, so that nothing is remembered of another time.
  const alone = new Acts(model, { name: `alone ${seed}`, shares }, mine);
  await alone.run(actions, turn);
  model.clearCache();
  const beside = new Acts(model, { name: `a ${seed}`, shares }, mine);
  const other = new Acts(model, { name: `b ${seed}`, shares: otherShares }, random(2) ? mine : others);
  const pauses = async () => {
    for (let turns = random(12); turns > 0; turns--) await turn();
  };
  await Promise.all([beside.run(actions, pauses), other.run(actions, pauses)]);
  expect(beside.told).toEqual(alone.told);
}

test.skipIf(cpuAbsent)(
  `${only ? `schedule ${only}` : `${count} schedules`} of two tenants: neither ids, cached tokens, reasons nor errors tell of the other`,
  async () => {
    const small = await open(goldenFolder("base"));
    const tiny = await open("tiny");
    const first = only ? Number(only) : 0;
    for (let seed = first; seed < (only ? first + 1 : count); seed++) {
      const model = seed % 16 === 0 ? tiny : small;
      await runSchedule(model, seed).catch((error) => {
        throw new Error(`schedule ${seed}: ${error.message}`, { cause: error });
      });
      // One that was left may still be ending.
      await vi.waitFor(() => expect([seed, model.inUse()]).toEqual([seed, { slots: 0, pages: 0 }]), { timeout: 5000 });
      model.clearCache();
    }
  },
  3_600_000,
);

const base = Array.from({ length: 150 }, (_, i) => 300 + ((i * 31) % 1500));

test.skipIf(cpuAbsent)("on the disk too, and after a start anew, states are found by those they were kept for", async () => {
  const dir = await mkdtemp(join(tmpdir(), "jamba-tenants-"));
  disposables.push(() => rm(dir, { recursive: true, force: true }));
  const cached = async (model: JambaModel, tenant: string | Tenant | undefined) => {
    const { usage, cacheMissReason } = await model.generate([...base.slice(0, 100), 7], { maxTokens: 1, tenant });
    return { cachedTokens: usage.cachedTokens, cacheMissReason };
  };
  const nothing = { cachedTokens: 0, cacheMissReason: "nothing that begins like this was read before" };
  for (const [mine, theirs] of [
    ["a", "b"],
    ["a", undefined],
    [undefined, "a"],
    [{ name: "a", shares: "all" as const }, { name: "a" }],
    [
      { name: "a", shares: "system" as const },
      { name: "b", shares: "system" as const },
    ],
  ] as const) {
    const first = await loadModel("tiny", { backend: "cpu", contextLength: 160, cache: { dir } });
    await first.generate(base.slice(0, 100), { maxTokens: 1, tenant: mine });
    await first.dispose();
    const second = await loadModel("tiny", { backend: "cpu", contextLength: 160, cache: { dir } });
    expect(await cached(second, theirs)).toEqual(nothing);
    expect((await cached(second, mine)).cachedTokens).toBe(100);
    await second.dispose();
    expect((await readdir(dir)).join()).not.toContain("a-");
    await rm(dir, { recursive: true });
  }
});

test.skipIf(cpuAbsent)(
  "what is shared is found by all who say so: all of it, or the system messages, which are no way to find out another's",
  async () => {
    const model = await open("tiny", { contextLength: 400 });
    const cached = async (name: string, shares: Tenant["shares"], system: string, text: string) => {
      const messages = [
        { role: "system", content: system },
        { role: "user", content: text },
      ] as const;
      const { usage } = await model.generate(messages, { maxTokens: 1, tenant: { name, shares } });
      return usage.cachedTokens;
    };
    const system = "You know the number 481516. ".repeat(6);
    const systemTokens = model.tokenizer.encode(
      model.tokenizer.renderChat([{ role: "system", content: system }], { addGenerationPrompt: false }),
    ).length;
    const text = "Tell me of a fox that no one has ever seen, and of an owl that has.";
    expect(await cached("a", "system", system, text)).toBe(0);
    expect(await cached("b", "system", system, text)).toBe(systemTokens);
    expect(await cached("a", "system", system, text)).toBeGreaterThan(systemTokens);
    // Neither a beginning of the system text nor one that goes on otherwise.
    for (const guess of [system.slice(0, -20), `${system} x`, system.replace(/6\. $/, "7. ")])
      expect(await cached("c", "system", guess, "")).toBe(0);
    // Nor is anything of it found by who shares nothing, or everything.
    for (const shares of [undefined, "none", "all"] as const) expect(await cached(`d ${shares}`, shares, system, text)).toBe(0);
    expect(await cached("e", "all", system, text)).toBeGreaterThan(systemTokens);
    // Without a system message there is nothing to share.
    const prompt = base.slice(0, 100);
    await model.generate(prompt, { maxTokens: 1, tenant: { name: "a", shares: "system" } });
    const { usage } = await model.generate(prompt, { maxTokens: 1, tenant: { name: "b", shares: "system" } });
    expect(usage.cachedTokens).toBe(0);
  },
);

test.skipIf(cpuAbsent)("however much another asks, half of the room for states stays with who has no more than that", async () => {
  const measured = await open("tiny");
  await measured.generate(base.slice(0, 100), { maxTokens: 1 });
  const { bytes } = measured.cached();
  const model = await open("tiny", { cache: { bytes: 3 * bytes } });
  await model.generate(base.slice(0, 100), { maxTokens: 1, tenant: "a" });
  for (let i = 0; i < 30; i++) await model.generate([300 + i, ...base.slice(0, 120)], { maxTokens: 1, tenant: "b" });
  const { usage } = await model.generate([...base.slice(0, 100), 7], { maxTokens: 1, tenant: "a" });
  expect(usage.cachedTokens).toBe(100);
});
