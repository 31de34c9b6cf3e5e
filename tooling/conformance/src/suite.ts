// The suite that every backend must pass: import it, call it, done.

import { type Backend, type CommandList, type HostState, JambaError, type StateAddress, type WeightDtype } from "@jamba/core";
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
  /** Cases whose name one of the patterns matches do not run; the reason is printed. */
  skip?: readonly { readonly reason: string; readonly cases: readonly RegExp[] }[];
}

/** Registers every op and layer against the reference, for every dtype of the device, then the invariants. */
export function testOps(options: SuiteOptions): void {
  const { skip = [], wider } = options;
  let backend: Backend;
  beforeAll(async () => {
    backend = await options.open();
  });
  afterAll(() => backend.dispose());
  for (const dtype of ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"] as const) {
    describe(`ops with ${dtype} weights`, () => {
      for (const one of cases.filter((c) => dtype === "f32" || c.weights)) {
        const skipped = skip.find(({ cases }) => cases.some((pattern) => pattern.test(one.name)));
        test(one.name, async (context) => {
          if (skipped) context.skip(skipped.reason);
          if (!backend.device.weightDtypes.includes(dtype)) context.skip(`${backend.device.name} has no ${dtype}`);
          await expectMatch(one, dtype, backend, wider);
        });
      }
    });
  }
  testInvariants(options);
}

async function expectMatch(one: Case, dtype: WeightDtype, backend: Backend, wider?: Tolerances): Promise<void> {
  const mismatch = await findMismatch(one, dtype, backend, wider);
  if (!mismatch) return;
  const fault = await firstFault(one, dtype, backend, wider);
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
        pages: addressOf(0).pages.map((page, i) => [page, addressOf(1).pages[i]] as const),
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
      const together = await Promise.all([3, 4, 5].map((n) => a.advance(0, n)));
      for (const [i, n] of [3, 4, 5].entries()) expectClose(together[i], await b.advance(0, n));
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
      await expect(backend.run(list, store, inputs, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      await expectMatch(one, "f32", backend);
    });

    test.each(badInputs)("a step with %s is refused with code SHAPE", async (_, spoil) => {
      const { record, store } = await sequences(stateful[1], backend);
      const { list, inputs } = record(0, 5);
      const run = backend.run(list, store, spoil(inputs) as typeof inputs);
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
      await expect(own.run(list, store, inputs)).rejects.toSatisfy((error) => error instanceof JambaError && error.code === "DISPOSED");
    });
  });
}

type Inputs = Parameters<Backend["run"]>[2];

const badInputs: [string, (inputs: Inputs) => Inputs][] = [
  ["too few ids", (i) => ({ ...i, ids: i.ids.slice(1) })],
  ["starts that run backwards", (i) => ({ ...i, starts: Int32Array.from([...i.starts].reverse()) })],
  ["a slot beyond the store", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, slot: 10 ** 6 })) })],
  ["a page beyond the store", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, pages: s.pages.map(() => 10 ** 6) })) })],
  ["too few pages", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, pages: s.pages.slice(0, 1), seen: 2 * pageTokens })) })],
  ["a negative count of tokens seen", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, seen: -9 })) })],
  ["fewer than no tokens seen, though not after the step", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, seen: -1 })) })],
  ["half a slot", (i) => ({ ...i, states: i.states.map((s) => ({ ...s, slot: 0.5 })) })],
  ["a row that is no token", (i) => ({ ...i, rows: Int32Array.from([99]) })],
  ["no input tensor", (i) => ({ ...i, tensors: new Map() })],
];

/** Sequences of one case that advance one at a time on inputs that depend only on the token's index. */
async function sequences(one: Case, backend: Backend) {
  const weights = await openWeights(one, "f32", backend);
  const store = openStates(one, backend);
  const run = { seen: [0, 0], at: [0, 0] };
  const address = (i: number): StateAddress => ({ ...addressOf(i), seen: run.seen[i] });
  const record = (i: number, tokens: number): { list: CommandList; inputs: Inputs } => {
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
      return valuesOf({ reads: [await backend.run(list, store, inputs)], states: [] });
    },
    read: (i: number) => backend.readState(store, address(i)),
    async write(i: number, state: HostState) {
      run.seen[i] = state.seen;
      await backend.writeState(store, address(i), state);
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
