// The suite that every backend must pass: import it, call it, done.

import {
  type Backend,
  type CommandList,
  type HostState,
  HostTensor,
  JambaError,
  readHostState,
  record,
  runOnce,
  type StateAddress,
  type StepInputs,
  type WeightDtype,
  writeHostState,
} from "@jamba/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Case, cases } from "./cases.ts";
import { compare, type Tolerances } from "./compare.ts";
import { normal, randomChunks, seeded } from "./random.ts";
import { addressOf, findMismatch, firstFault, openStates, openWeights, pageTokens, recordStep, runCase, valuesOf } from "./run-case.ts";

export interface SuiteOptions {
  /** Wider bounds by dtype of the weights, for a device that rounds activations too. */
  readonly wider?: Tolerances;
  /** Called once; the suite disposes what it gives. */
  open(): Promise<Backend> | Backend;
  /** Formats of weights to try; all if not given, those that the device lacks skipped. */
  dtypes?: readonly WeightDtype[];
  /** Cases whose name one of the patterns matches do not run; the reason is printed. */
  skip?: readonly { readonly reason: string; readonly cases: readonly RegExp[] }[];
}

/** Registers every op and layer against the reference, for every dtype of the device, then the invariants. */
export function testOps(options: SuiteOptions): void {
  const { skip = [], wider, dtypes = ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"] } = options;
  let backend: Backend;
  beforeAll(async () => {
    backend = await options.open();
  });
  afterAll(() => backend.dispose());
  for (const dtype of dtypes) {
    describe(`ops with ${dtype} weights`, () => {
      for (const one of cases.filter((c) => dtype === "f32" || c.weights)) {
        const skipped = skip.find(({ cases }) => cases.some((pattern) => pattern.test(one.name)));
        test(one.name, async (context) => {
          if (skipped) context.skip(skipped.reason);
          if (!backend.device.weightDtypes.includes(dtype)) context.skip(`${backend.device.name} has no ${dtype}`);
          await expectMatch(one, dtype, backend, { wider });
        });
      }
    });
  }
  for (const kvDtype of ["bf16", "f16"] as const) {
    describe(`keys and values in ${kvDtype}`, () => {
      for (const one of cases.filter(({ layers }) => layers?.some(({ kind }) => kind === "attention"))) {
        test(one.name, async (context) => {
          if (!backend.device.kvDtypes.includes(kvDtype)) context.skip(`${backend.device.name} has no ${kvDtype} for keys and values`);
          await expectMatch(one, "f32", backend, { wider, kvDtype });
        });
      }
    });
  }
  testInvariants(options);
}

async function expectMatch(
  one: Case,
  dtype: WeightDtype,
  backend: Backend,
  options: Parameters<typeof findMismatch>[3] = {},
): Promise<void> {
  const mismatch = await findMismatch(one, dtype, backend, options);
  if (!mismatch) return;
  const fault = await firstFault(one, dtype, backend, options.wider);
  const { where, nmse, tolerance, index, found, expected } = mismatch;
  expect.fail(
    `${where}: expected NMSE <= ${tolerance}, found ${nmse}; worst at ${index}: expected ${expected}, found ${found}; first command at fault: ${fault}`,
  );
}

/** What holds for a right backend whatever the numbers are. */
export function testInvariants({ open }: Pick<SuiteOptions, "open">): void {
  describe("invariants", () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await open();
    });
    afterAll(() => backend.dispose());

    const stateful = cases.filter((c) => c.op === "layer" && c.layers);

    test.each(stateful)("$name: any chunking gives one call's values and state", async (one) => {
      const n = 23;
      const whole = await runSequence(one, backend, [n]);
      for (const seed of [1, 2, 3, 4]) {
        const chunks = seed === 4 ? Array(n).fill(1) : randomChunks(seeded(seed), n);
        expectClose(await runSequence(one, backend, chunks), whole);
      }
    });

    test.each(stateful)("$name: a copied state goes on as the original does, and neither disturbs the other", async (one) => {
      const { run, advance, read, store } = await sequences(one, backend);
      await advance(0, 5);
      await backend.copyStates(store, {
        slots: [[0, 1]],
        pages: Array.from(addressOf(0).pages, (page, i) => [page, addressOf(1).pages[i]] as const),
      });
      run.seen[1] = 5;
      const [original, copy] = [await advance(0, 4), await advance(1, 4)];
      expectClose(copy, original);
      const before = await read(0);
      await advance(1, 3);
      expect(flatten(await read(0))).toEqual(flatten(before));
    });

    test.each(stateful)("$name: a state that was read and written elsewhere goes on as before", async (one) => {
      const { advance, read, write } = await sequences(one, backend);
      await advance(0, 7);
      const state = await read(0);
      await write(1, state);
      expect(flatten(await read(1))).toEqual(flatten(state));
      expectClose(await advance(1, 4), await advance(0, 4));
    });

    test.each(stateful)("$name: a used slot starts from zeros when nothing was seen", async (one) => {
      const { run, advance } = await sequences(one, backend);
      const first = await advance(0, 6);
      run.seen[0] = 0;
      run.at[0] = 0;
      expectClose(await advance(0, 6), first);
    });

    test("steps submitted together take effect in order", async () => {
      const one = stateful[0];
      const [a, b] = [await sequences(one, backend), await sequences(one, backend)];
      const prepared: { list: CommandList; inputs: StepInputs }[] = [];
      for (const n of [3, 4, 5]) {
        prepared.push(a.record(0, n));
        a.run.seen[0] += n;
      }
      const programs = await Promise.all(prepared.map(({ list }) => backend.prepare(list, a.store)));
      const steps = programs.map((program, i) => backend.submit(program, prepared[i].inputs));
      for (const [i, n] of [3, 4, 5].entries()) {
        const expected = await b.advance(0, n);
        for (const [name, values] of expected) {
          const found = await steps[i].read(name.replace("step 0: ", ""));
          expectClose(new Map([["", found.data as Float32Array]]), new Map([["", values]]));
        }
      }
    });

    test("copies of a step are done before its list, in the same order as everything else", async () => {
      const { run, record, store, read, advance } = await sequences(stateful[0], backend);
      await advance(0, 5);
      run.seen[1] = 5;
      const { list, inputs } = record(1, 3);
      const pages = Array.from(addressOf(0).pages, (page, i) => [page, addressOf(1).pages[i]] as const);
      await runOnce(backend, list, store, { ...inputs, copies: { slots: [[0, 1]], pages } });
      run.seen[1] = 8;
      await advance(0, 3);
      expectClose(new Map([["", flatten(await read(1))]]), new Map([["", flatten(await read(0))]]));
      for (const copies of [
        { slots: [[0, 10 ** 6]] },
        { pages: [[-1, 0]] },
        {
          slots: [
            [0, 1],
            [1, 2],
          ],
        },
        {
          pages: [
            [0, 2],
            [1, 2],
          ],
        },
      ] as const)
        await expect(runOnce(backend, list, store, { ...inputs, copies })).rejects.toMatchObject({ code: "SHAPE" });
    });

    test("a kept value can be read until the submit after the next one, by rows, and not after", async () => {
      const [rows, columns] = [4, 5];
      const store = await backend.createStates({ layers: [], pageTokens, kvDtype: "f32" });
      await store.reserve(1, 0);
      const list = record({ L: rows, nSequences: 1, nRows: 0 }, store.spec, (ops) => ops.keep("x", ops.input("x", [rows, columns])));
      const program = await backend.prepare(list, store);
      const values = (step: number) => Float32Array.from({ length: rows * columns }, (_, i) => 1000 * step + i);
      const submit = (step: number) =>
        backend.submit(program, {
          ids: new Int32Array(rows),
          starts: Int32Array.of(0, rows),
          rows: new Int32Array(0),
          states: [{ slot: 0, pages: [], seen: 0 }],
          tensors: new Map([["x", new HostTensor(values(step), [rows, columns])]]),
        });
      const [first, second] = [submit(1), submit(2)];
      expect((await first.read("x")).data).toEqual(values(1));
      const part = await first.read("x", [1, 3]);
      expect([part.dims, part.data]).toEqual([[2, columns], values(1).slice(columns, 3 * columns)]);
      expect((await second.read("x", [0, 0])).dims).toEqual([0, columns]);
      for (const wrong of [
        [0, 5],
        [-1, 2],
        [2, 1],
        [0.5, 1],
      ] as const)
        await expect(second.read("x", wrong)).rejects.toMatchObject({ code: "SHAPE" });
      await expect(second.read("y")).rejects.toMatchObject({ code: "SHAPE" });
      const asked = second.read("x");
      const steps = [submit(3), submit(4)];
      expect((await asked).data).toEqual(values(2)); // asked for in time, whatever was submitted since
      await expect(first.read("x")).rejects.toThrow(/before the submit after the next one/);
      await expect(second.read("x")).rejects.toThrow(/before the submit after the next one/);
      for (const [i, step] of steps.entries()) expect((await step.read("x")).data).toEqual(values(3 + i));
      program[Symbol.dispose]();
      store.dispose();
    });

    test("a store that grows keeps what it holds, and programs go on, with steps under way and after", async () => {
      const one = stateful.find(({ layers }) => layers?.some(({ kind }) => kind === "attention"))!;
      const weights = await openWeights(one, "f32", backend);
      const [plain, grown] = [
        await openStates(one, backend),
        await backend.createStates({ layers: one.layers!, pageTokens, kvDtype: "f32" }),
      ];
      await grown.reserve(1, 4);
      const stepsOn = async (store: typeof plain, growTo?: (n: number) => Promise<void>) => {
        const address = { slot: 0, pages: [3, 1, 2, 0], seen: 0 };
        const { list, inputs } = recordStep(one, weights, store, [address], [2], 0);
        const program = await backend.prepare(list, store);
        const growths: Promise<void>[] = [];
        const steps = [0, 2, 4, 6].map((seen, i) => {
          if (growTo) growths.push(growTo(i));
          return backend.submit(program, { ...inputs, states: [{ ...address, seen }] });
        });
        await Promise.all(growths);
        steps.push(backend.submit(program, { ...inputs, states: [{ ...address, seen: 8 }] }));
        return Promise.all(steps.map(async (step) => (await step.read("y")).data as Float32Array));
      };
      const expected = await stepsOn(plain);
      const found = await stepsOn(grown, (n) => grown.reserve(2 + 3 * n, 8 + 60 * n));
      for (const [i, values] of expected.entries()) expectClose(new Map([["", found[i]]]), new Map([["", values]]));
      expect([grown.nSlots, grown.nPages]).toEqual([11, 188]);
    });

    test("a program that was disposed is refused, and one that waits runs to its end", async () => {
      const { record, store } = await sequences(stateful[0], backend);
      const { list, inputs } = record(0, 5);
      const program = await backend.prepare(list, store);
      const step = backend.submit(program, inputs);
      program[Symbol.dispose]();
      expect(() => backend.submit(program, inputs)).toThrow(/expected a program that is in use/);
      await step.done;
    });

    test("many short steps in a row leave the event loop its turns", async () => {
      const { advance } = await sequences(stateful[0], backend);
      const over = performance.now() + 200;
      let turns = 0;
      const timer = setInterval(() => turns++, 1);
      while (performance.now() < over) await advance(0, 1);
      clearInterval(timer);
      // 200 ms hold at least two turns, however busy the machine is.
      expect(turns).toBeGreaterThan(1);
    });

    test("an aborted step rejects with the signal's reason and leaves the backend usable", async () => {
      const one = stateful[0];
      const { record, store } = await sequences(one, backend);
      const { list, inputs } = record(0, 5);
      const reason = new Error("stop");
      await expect(runOnce(backend, list, store, inputs, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      await expectMatch(one, "f32", backend);
    });

    test.each(badInputs)("a step with %s is refused with code SHAPE", async (_, spoil) => {
      const { record, store } = await sequences(stateful[1], backend);
      const { list, inputs } = record(0, 5);
      const run = runOnce(backend, list, store, spoil(inputs));
      await expect(run).rejects.toSatisfy((error) => error instanceof JambaError && error.code === "SHAPE");
    });

    test("memory comes back to where it was", async () => {
      const before = backend.memory();
      await runCase(stateful[0], "f32", backend);
      const after = backend.memory();
      expect({ ...after, arenaBytes: 0 }).toEqual({ ...before, arenaBytes: 0 });
    });

    test("a disposed backend refuses with code DISPOSED", async () => {
      const own = await open();
      const { record, store } = await sequences(stateful[0], own);
      const { list, inputs } = record(0, 5);
      await own.dispose();
      await expect(runOnce(own, list, store, inputs)).rejects.toSatisfy(
        (error) => error instanceof JambaError && error.code === "DISPOSED",
      );
    });
  });
}

const badInputs: [string, (inputs: StepInputs) => StepInputs][] = [
  ["too few ids", (i) => ({ ...i, ids: i.ids.slice(1) })],
  ["starts that run backwards", (i) => ({ ...i, starts: Int32Array.from([...i.starts].reverse()) })],
  ["a slot beyond the store", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, slot: 10 ** 6 })) })],
  ["a page beyond the store", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, pages: Array.from(s.pages, () => 10 ** 6) })) })],
  ["too few pages", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, pages: [s.pages[0]], seen: 2 * pageTokens })) })],
  ["a negative count of tokens seen", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, seen: -9 })) })],
  ["fewer than no tokens seen, though not after the step", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, seen: -1 })) })],
  ["half a slot", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, slot: 0.5 })) })],
  ["a row that is no token", (i) => ({ ...i, rows: Int32Array.from([99]) })],
  ["no input tensor", (i) => ({ ...i, tensors: new Map() })],
];

/** Sequences of one case that advance one at a time on inputs that depend only on the token's index. */
async function sequences(one: Case, backend: Backend) {
  const weights = await openWeights(one, "f32", backend);
  const store = await openStates(one, backend);
  const run = { seen: [0, 0], at: [0, 0] };
  const address = (i: number): StateAddress => ({ ...addressOf(i), seen: run.seen[i] });
  const record = (i: number, tokens: number): { list: CommandList; inputs: StepInputs } => {
    const { list, inputs } = recordStep(one, weights, store, [address(i)], [tokens], 0);
    for (const tensor of inputs.tensors!.values()) {
      const columns = tensor.dims[1];
      for (let t = 0; t < tokens; t++) {
        const random = seeded(run.seen[i] + t);
        for (let c = 0; c < columns; c++) (tensor.data as Float32Array)[t * columns + c] = normal(random);
      }
    }
    return { list, inputs };
  };
  return {
    run,
    store,
    record,
    async advance(i: number, tokens: number): Promise<Map<string, ArrayLike<number>>> {
      const { list, inputs } = record(i, tokens);
      run.seen[i] += tokens;
      return valuesOf({ reads: [await runOnce(backend, list, store, inputs)], states: [] });
    },
    read: (i: number) => readHostState(backend, store, address(i)),
    async write(i: number, state: HostState) {
      run.seen[i] = state.seen;
      await writeHostState(backend, store, address(i), state);
    },
  };
}

async function runSequence(one: Case, backend: Backend, chunks: readonly number[]): Promise<Map<string, ArrayLike<number>>> {
  const { advance, read } = await sequences(one, backend);
  const rows: number[] = [];
  for (const chunk of chunks) for (const values of (await advance(0, chunk)).values()) rows.push(...Array.from(values));
  return new Map([
    ["values", rows],
    ["state", flatten(await read(0))],
  ]);
}

function flatten(state: HostState): number[] {
  return [...valuesOf({ reads: [], states: [state] }).values()].flatMap((values) => Array.from(values));
}

function expectClose(found: ReadonlyMap<string, ArrayLike<number>>, expected: ReadonlyMap<string, ArrayLike<number>>): void {
  for (const [name, values] of expected) expect(compare(found.get(name) ?? [], values).nmse, name).toBeLessThanOrEqual(1e-11);
}
