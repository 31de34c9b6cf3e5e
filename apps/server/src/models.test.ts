// Models that come and go when the test says so: random requests, ends and failures, in any order.

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Lease, type Lifetime, Models, type ModelsOptions, type Needs } from "./models.ts";

const tick = () => vi.advanceTimersByTimeAsync(0);

/** What is asked of lifetimes waits until the test answers it. */
class Stage {
  readonly present = new Map<string, { model: { name: string }; users: number }>();
  readonly log: string[] = [];
  readonly pending: { readonly what: string; readonly name: string; settle(isFine: boolean): void }[] = [];
  models: Models<{ name: string }>;

  constructor(
    readonly sizes: Readonly<Record<string, number>>,
    readonly options: ModelsOptions,
  ) {
    this.models = new Models(new Map(Object.keys(sizes).map((name) => [name, this.#lifetimeOf(name)])), options);
  }

  get bytes(): number {
    return [...this.present.keys()].reduce((sum, name) => sum + this.sizes[name], 0);
  }

  #lifetimeOf(name: string): Lifetime<{ name: string }> {
    const asked = (what: string) =>
      new Promise<boolean>((resolve) => {
        this.log.push(`${what} ${name}`);
        this.pending.push({ what, name, settle: resolve });
      });
    return {
      needs: async (budget = 100) => ({ bytes: this.sizes[name], freeBytes: budget }),
      load: async () => {
        expect(this.present.has(name)).toBe(false);
        this.present.set(name, { model: { name }, users: 0 });
        expect(this.bytes).toBeLessThanOrEqual(this.options.memoryBytes ?? 100);
        const isFine = await asked("load");
        const { model } = this.present.get(name)!;
        if (isFine) return model;
        this.present.delete(name);
        throw new Error(`${name} is damaged`);
      },
      unload: async (model) => {
        expect(this.present.get(name)).toEqual({ model, users: 0 });
        await asked("unload");
        this.present.delete(name);
      },
    };
  }

  /** Notes who uses what. */
  async acquire(name: string, signal?: AbortSignal): Promise<Lease<{ name: string }>> {
    const lease = await this.models.acquire(name, signal);
    const entry = this.present.get(name)!;
    expect(lease.model).toBe(entry.model);
    entry.users++;
    return {
      model: lease.model,
      release: () => {
        entry.users--;
        lease.release();
      },
    };
  }

  /** Ends what goes on, in its order. */
  async settle(what?: string, isFine = true): Promise<void> {
    await tick();
    const at = this.pending.findIndex((one) => what === undefined || `${one.what} ${one.name}` === what);
    if (at < 0) throw new Error(`expected ${what ?? "something"} to be under way, found ${this.log.join(", ")}`);
    this.pending.splice(at, 1)[0].settle(isFine);
    await tick();
  }
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

type Step = { readonly kind: "ask" | "release" | "settle" | "fail" | "leave" | "wait"; readonly pick: number };

test("whatever happens: never more than the budget, none unloaded in use, none loaded twice, and everybody is answered", async () => {
  const steps = fc.array(
    fc.record<Step>({
      kind: fc.constantFrom("ask", "ask", "ask", "release", "release", "settle", "settle", "fail", "leave", "wait"),
      pick: fc.nat(1000),
    }),
    { minLength: 5, maxLength: 60 },
  );
  const sizes = fc.record({ a: fc.integer({ min: 1, max: 60 }), b: fc.integer({ min: 1, max: 60 }), c: fc.integer({ min: 1, max: 110 }) });
  await fc.assert(
    fc.asyncProperty(sizes, steps, fc.option(fc.constant(50), { nil: undefined }), async (given, schedule, idleUnloadMs) => {
      const stage = new Stage(given, { memoryBytes: 100, idleUnloadMs });
      const held: Lease<unknown>[] = [];
      const asks: { controller: AbortController; name: string; outcome: Promise<void>; isOver: boolean }[] = [];
      const one = async ({ kind, pick }: Step) => {
        if (kind === "ask") {
          const name = Object.keys(given)[pick % 3];
          const controller = new AbortController();
          const ask = { controller, name, isOver: false, outcome: Promise.resolve() };
          const end = () => {
            ask.isOver = true;
          };
          ask.outcome = stage
            .acquire(name, controller.signal)
            .then(
              (lease) => void held.push(lease),
              (error) => {
                const isTooLarge = given[name as keyof typeof given] > 100;
                expect(error.name === "AbortError" || error.message.includes("is damaged") || (isTooLarge && error.status === 507)).toBe(
                  true,
                );
              },
            )
            .finally(end);
          asks.push(ask);
        } else if (kind === "release") held.splice(pick % Math.max(1, held.length), 1)[0]?.release();
        else if (kind === "leave") asks[pick % Math.max(1, asks.length)]?.controller.abort();
        else if (kind === "wait") await vi.advanceTimersByTimeAsync(60);
        else if (stage.pending.length > 0) stage.pending.splice(pick % stage.pending.length, 1)[0].settle(kind === "settle");
        await tick();
        expect(stage.bytes).toBeLessThanOrEqual(100);
      };
      for (const step of schedule) await one(step);
      // Nobody waits for ever, if what runs ends.
      for (let rounds = 0; asks.some(({ isOver }) => !isOver); rounds++) {
        expect(rounds).toBeLessThan(500);
        await one({ kind: "release", pick: 0 });
        await one({ kind: "settle", pick: 0 });
      }
      await Promise.all(asks.map(({ outcome }) => outcome));
      if (idleUnloadMs !== undefined) {
        while (held.length > 0) await one({ kind: "release", pick: 0 });
        for (let rounds = 0; stage.present.size > 0; rounds++) {
          expect(rounds).toBeLessThan(20); // what nobody uses goes, whatever happened before
          await one({ kind: "wait", pick: 0 });
          await one({ kind: "settle", pick: 0 });
        }
      }
      let isClosed = false;
      const closed = stage.models.close().then(() => {
        isClosed = true;
      });
      for (let rounds = 0; !isClosed; rounds++) {
        expect(rounds).toBeLessThan(500);
        await one({ kind: "release", pick: 0 });
        await one({ kind: "settle", pick: 0 });
      }
      await closed;
      expect(stage.present.size).toBe(0);
      await expect(stage.models.acquire("a")).rejects.toMatchObject({ status: 503, details: { code: "shutting_down" } });
    }),
    { numRuns: 300, seed: 5 },
  );
});

describe("a model", () => {
  test("that two ask for is loaded once, and both get the same", async () => {
    const stage = new Stage({ a: 10 }, {});
    const both = Promise.all([stage.acquire("a"), stage.acquire("a")]);
    await stage.settle("load a");
    const [first, second] = await both;
    expect(first.model).toBe(second.model);
    expect(stage.log).toEqual(["load a"]);
  });

  test("that can't be loaded fails for all who wait, and is tried again for the next", async () => {
    const stage = new Stage({ a: 10 }, {});
    const both = Promise.allSettled([stage.acquire("a"), stage.acquire("a")]);
    await stage.settle("load a", false);
    expect((await both).map((one) => one.status === "rejected" && one.reason.message)).toEqual(["a is damaged", "a is damaged"]);
    const again = stage.acquire("a");
    await stage.settle("load a");
    expect((await again).model).toEqual({ name: "a" });
  });

  test("goes on loading for others when one who waits leaves, and when all leave is there for the next", async () => {
    const stage = new Stage({ a: 10 }, {});
    const controller = new AbortController();
    const leaver = stage.acquire("a", controller.signal);
    leaver.catch(() => undefined);
    const other = stage.acquire("a");
    await tick();
    controller.abort();
    await expect(leaver).rejects.toThrow();
    await stage.settle("load a");
    (await other).release();
    (await stage.acquire("a")).release();
    expect(stage.log).toEqual(["load a"]);
  });

  test("that can never fit is refused, with both sizes for the log, by a status that clients do not try again", async () => {
    const stage = new Stage({ a: 1_000_000, b: 10 }, { memoryBytes: 50 });
    await expect(stage.acquire("a")).rejects.toMatchObject({
      status: 507,
      message: expect.not.stringMatching(/\d{2}/),
      details: { code: "model_too_large", headers: { "x-should-retry": "false" } },
      cause: { message: expect.stringMatching(/takes 1,000,000 bytes at least, and this server has 50 for all/) },
    });
    const other = stage.acquire("b");
    await stage.settle("load b");
    (await other).release();
  });

  test("waits for no more than so many requests", async () => {
    const stage = new Stage({ a: 10 }, { maxWaiting: 2 });
    const waiting = [stage.acquire("a"), stage.acquire("a")];
    await expect(stage.acquire("a")).rejects.toMatchObject({ status: 429, details: { code: "rate_limit_exceeded" } });
    await stage.settle("load a");
    await Promise.all(waiting);
  });
});

/** Acquires and releases each in turn. */
async function visit(stage: Stage, names: string): Promise<void> {
  for (const name of names) {
    const lease = stage.acquire(name);
    await tick();
    while (stage.pending.length > 0) await stage.settle();
    (await lease).release();
  }
}

describe("room", () => {
  test.for([
    ["the one that was used longest ago goes", "abac", "load a, load b, unload b, load c"],
    ["as many as are needed, and no more", "abd", "load a, load b, unload a, load d"],
    ["what is there already is not loaded again", "aabba", "load a, load b"],
    ["all of them for one that takes everything", "abe", "load a, load b, unload a, unload b, load e"],
  ])("%s", async ([, names, expected]) => {
    const stage = new Stage({ a: 40, b: 40, c: 40, d: 60, e: 100 }, { memoryBytes: 100 });
    await visit(stage, names);
    expect(stage.log.join(", ")).toBe(expected);
  });

  test("is not made of a model in use: its answers end first, and whoever comes for it then waits", async () => {
    const stage = new Stage({ a: 60, b: 60 }, { memoryBytes: 100 });
    const [running, next] = [stage.acquire("a"), stage.acquire("b")];
    await stage.settle("load a");
    const lease = await running;
    const again = stage.acquire("a");
    await tick();
    expect(stage.log).toEqual(["load a"]);
    lease.release();
    await stage.settle("unload a");
    await stage.settle("load b");
    (await next).release();
    await stage.settle("unload b");
    await stage.settle("load a");
    (await again).release();
  });

  test("is made of what is idle first, and what was to leave before that stays for its time", async () => {
    const stage = new Stage({ a: 40, b: 40, c: 40 }, { memoryBytes: 100, idleUnloadMs: 1000 });
    const held: Lease<unknown>[] = [];
    for (const name of ["a", "b"]) {
      const lease = stage.acquire(name);
      await stage.settle(`load ${name}`);
      held.push(await lease);
    }
    const waiting = stage.acquire("c");
    await tick();
    held[1].release();
    await stage.settle("unload b");
    await stage.settle("load c");
    (await stage.acquire("a")).release();
    (await waiting).release();
    held[0].release();
    await vi.advanceTimersByTimeAsync(1100);
    await stage.settle("unload c");
    await stage.settle("unload a");
  });

  test("that nobody wants any more is not made: who waited behind goes on at once", async () => {
    const stage = new Stage({ a: 60, b: 60 }, { memoryBytes: 100 });
    const running = stage.acquire("a");
    await stage.settle("load a");
    await running;
    const controller = new AbortController();
    stage.acquire("b", controller.signal).catch(() => undefined);
    await tick();
    const behind = stage.acquire("a");
    controller.abort();
    expect((await behind).model).toEqual({ name: "a" });
    expect(stage.log).toEqual(["load a"]);
  });

  test("for one model is no matter of another that is there", async () => {
    const stage = new Stage({ a: 40, b: 40, c: 90 }, { memoryBytes: 100 });
    const first = stage.acquire("a");
    await stage.settle("load a");
    await first;
    const second = stage.acquire("b");
    await tick();
    (await stage.acquire("a")).release(); // while b loads
    await stage.settle("load b");
    (await second).release();
  });

  test("is made once where it becomes known late that another model can never fit", async () => {
    let tell!: (needs: Needs) => void;
    const told = new Promise<Needs>((resolve) => (tell = resolve));
    const lifetime = (name: string, needs: Needs | Promise<Needs>): [string, Lifetime<string>] => [
      name,
      { needs: async () => needs, load: async () => name, unload: async () => undefined },
    ];
    const of = (bytes: number) => ({ bytes, freeBytes: 100 });
    const models = new Models(new Map([lifetime("a", of(40)), lifetime("b", of(40)), lifetime("huge", told), lifetime("c", of(60))]));
    const first = await models.acquire("a");
    await models.acquire("b");
    const refused = models.acquire("huge");
    const waiting = models.acquire("c");
    await tick();
    tell(of(200));
    await expect(refused).rejects.toMatchObject({ status: 507 });
    let isThere = false;
    void models.acquire("b").then(() => (isThere = true)); // which is in nobody's way
    await tick();
    expect(isThere).toBe(true);
    first.release();
    expect((await waiting).model).toBe("c");
    expect([models.state("a"), models.state("b")]).toEqual(["absent", "loaded"]);
  });

  test.for([
    ["what it has use for", [20, 30], [50, 50], { a: 30, b: 50 }],
    ["its share of all", [20, 70], [50, 90], { a: 50, b: 50 }],
    ["what is left", [70, 70], [20, 90], { a: 70, b: 30 }],
  ] as const)("beyond what it must have a model gets %s", async ([, a, b, expected]) => {
    const given: Record<string, number> = {};
    const lifetime = (name: string, [bytes, most]: readonly [number, number]): Lifetime<string> => ({
      needs: async () => ({ bytes, most, freeBytes: 100 }),
      load: async (_, room) => {
        given[name] = room;
        return name;
      },
      unload: async () => undefined,
    });
    const models = new Models(new Map(Object.entries({ a, b }).map(([name, sizes]) => [name, lifetime(name, sizes)])));
    for (const name of ["a", "b"]) (await models.acquire(name)).release();
    expect(given).toEqual(expected);
    expect([models.state("a"), models.state("b")]).toEqual(["loaded", "loaded"]);
  });

  test("counts what a model has come to take", async () => {
    let takes = 10;
    const lifetime = (more: Partial<Lifetime<string>>): Lifetime<string> => ({
      needs: async () => ({ bytes: 10, freeBytes: 100 }),
      load: async () => "model",
      unload: async () => undefined,
      ...more,
    });
    const models = new Models(
      new Map([
        ["a", lifetime({ takes: () => takes })],
        ["b", lifetime({})],
      ]),
    );
    (await models.acquire("a")).release();
    takes = 95;
    (await models.acquire("b")).release();
    expect([models.state("a"), models.state("b")]).toEqual(["absent", "loaded"]);
  });
});

test("what nobody uses goes after its time, what somebody uses stays", async () => {
  const stage = new Stage({ a: 10 }, { idleUnloadMs: 1000 });
  const first = stage.acquire("a");
  await stage.settle("load a");
  const lease = await first;
  await vi.advanceTimersByTimeAsync(5000);
  lease.release();
  await vi.advanceTimersByTimeAsync(900);
  (await stage.acquire("a")).release();
  await vi.advanceTimersByTimeAsync(900);
  expect(stage.log).toEqual(["load a"]);
  await vi.advanceTimersByTimeAsync(200);
  await stage.settle("unload a");
  expect(stage.models.state("a")).toBe("absent");
});
