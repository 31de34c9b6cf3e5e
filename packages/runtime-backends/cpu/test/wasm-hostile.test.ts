// Calls that no driver makes, at the door of a module: each ends in an error with a code, a TypeError or a RangeError, takes no memory with it, and the
// next right call is answered. JAMBA_FUZZ_CALLS says how many (the full count is 100000), JAMBA_FUZZ_SEED which.

import { openSmallModel, randomIds, seeded } from "@jamba/conformance";
import type { JambaError } from "@jamba/core";
import { expect, test, vi } from "vitest";
import { openWasmBackend } from "../src/index.ts";
import { ModuleExecutor } from "../src/wasm/executor.ts";

const calls = Number(process.env.JAMBA_FUZZ_CALLS ?? 10_000);
const seed = Number(process.env.JAMBA_FUZZ_SEED ?? 1);

type Random = () => number;
const pick = <T>(random: Random, from: readonly T[]): T => from[Math.floor(random() * from.length)];

/** Sizes that are small, or so large that nothing is made of them: what lies between only takes long to wipe. */
const sizes = [0, 1, 2, 3, 15, 16, 17, 33, 64, 97];
const oddNumbers = [-1, -(2 ** 31), 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 53, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 1e300, -0];
const others = [undefined, null, "", "x", true, 7n, Symbol("s"), {}, [], () => 0, new Date(0), Object.create(null)];

const methods = [
  ...["weightBytes", "createWeight", "packRows", "packFile", "writePacked", "readPacked", "encodeBlocks", "stateSizes", "createStates"],
  ...[
    "reserveStates",
    "shrinkStates",
    "release",
    "createProgram",
    "run",
    "readKept",
    "dropKept",
    "cancel",
    "copyStates",
    "movePart",
    "roomOf",
  ],
] as const;

test(`${calls} random calls end in typed errors or answers, and leave memory and the module as they were`, async () => {
  const random = seeded(seed);
  // One thread: a job lives on while another one looks at it, and its bytes would count.
  const backend = await openWasmBackend({ level: "simd128", threads: 1 });
  const made = vi.spyOn(ModuleExecutor.prototype, "profile");
  await backend.profile!();
  const executor = made.mock.contexts[0] as ModuleExecutor;
  const other = await openWasmBackend({ level: "simd128", threads: 1 });
  await other.profile!();
  const strange = await (made.mock.contexts[1] as ModuleExecutor).createWeight("strange", 0, false, 1, 16, 16);

  const model = await openSmallModel(backend);
  const turns = [{ sequence: 0, ids: randomIds(1, 9) }];
  const expected = await model.step(turns);
  const answers = async () => {
    model.reset();
    expect(await model.step(turns)).toEqual(expected);
    await executor.profile(); // behind what was released
  };
  await answers();

  const held: unknown[] = [];
  const weight = () => executor.createWeight("w", Math.floor(random() * 7), random() < 0.2, 1, pick(random, sizes), pick(random, sizes));
  const states = () => executor.createStates(Int32Array.of(4, 0, 1, 17, 3, 4, 0, 2, 8, 0));
  const gone = await weight();
  executor.release(gone);

  const number = () => (random() < 0.6 ? pick(random, sizes) : pick(random, oddNumbers));
  const view = () => {
    const length = pick(random, sizes);
    const kind = pick(random, [Uint8Array, Int32Array, Float32Array, Float64Array, DataView] as const);
    const values = new (kind as typeof Int32Array)(new ArrayBuffer(length * 8));
    // Numbers that could be right at most places.
    if (values instanceof Int32Array)
      for (let i = 0; i < values.length; i++) values[i] = random() < 0.8 ? Math.floor(random() * 5) : pick(random, [2 ** 31 - 1, number()]);
    return values;
  };
  const handle = () => (random() < 0.1 ? pick(random, [gone, strange, ...others]) : held.length ? pick(random, held) : gone);
  const argument = () => {
    const which = random();
    if (which < 0.3) return number();
    if (which < 0.5) return view();
    if (which < 0.8) return handle();
    return random() < 0.3
      ? Array.from({ length: Math.floor(random() * 3) }, () => (random() < 0.5 ? view() : handle()))
      : pick(random, others);
  };
  /** Half of the arguments that a call takes, in their places. */
  const likely: Partial<Record<(typeof methods)[number], () => unknown[]>> = {
    weightBytes: () => ["w", number(), false, number(), number(), number()],
    createWeight: () => ["w", number(), random() < 0.5, number(), number(), number()],
    packRows: () => [handle(), number(), number(), view(), number()],
    packFile: () => [handle(), number(), number(), pick(random, ["/missing", "/", ""]), number(), number()],
    writePacked: () => [handle(), number(), view()],
    readPacked: () => [handle(), number(), number()],
    encodeBlocks: () => [new Float32Array(pick(random, sizes) * 8), number(), number(), undefined, new Uint8Array(pick(random, sizes))],
    stateSizes: () => [view()],
    createStates: () => [view()],
    reserveStates: () => [handle(), number(), number()],
    shrinkStates: () => [handle(), number(), number()],
    createProgram: () => [view(), [], handle()],
    run: () => [handle(), handle(), ...Array.from({ length: 9 }, view), [view()], [view()], number()],
    readKept: () => [number(), number(), number(), number(), view()],
    copyStates: () => [handle(), view(), view()],
    movePart: () => [handle(), view(), number(), number(), view(), random() < 0.5],
    roomOf: () => [view(), [["w", number(), false, number(), number(), number()]], view(), number()],
  };

  const codes = new Map<string, number>();
  const taken: number[] = [];
  for (let i = 0; i < calls; i++) {
    if (held.length < 4) held.push(await pick(random, [weight, states])());
    const name = pick(random, methods);
    // Tokens of steps to come, which are counted from 1, are not cancelled.
    const args =
      name === "cancel"
        ? [pick(random, [...oddNumbers, ...others])]
        : random() < 0.8 && likely[name]
          ? likely[name]()
          : Array.from({ length: Math.floor(random() * 8) }, argument);
    if (name !== "cancel" && random() < 0.2) args[Math.floor(random() * args.length)] = argument();
    let outcome = "an answer";
    try {
      const result = await (executor[name] as (...args: unknown[]) => unknown).apply(executor, args);
      if (name.startsWith("create")) executor.release(result as never);
    } catch (error) {
      const { code, message } = error as JambaError;
      outcome = code ?? (error as Error).constructor.name;
      expect(
        ["SHAPE", "DTYPE", "LOAD", "BACKEND", "OUT_OF_MEMORY", "DISPOSED", "ABORTED", "TypeError", "RangeError", "NotPosted"],
        `call ${i} of seed ${seed}, ${name}: ${outcome}: ${message}`,
      ).toContain(outcome);
    }
    codes.set(outcome, (codes.get(outcome) ?? 0) + 1);
    // What was released by its name, or holds much, makes room for others.
    if (random() < 0.1) executor.release(held.splice(Math.floor(random() * held.length), 1)[0] as never);
    if ((i + 1) % Math.floor(calls / 10) > 0) continue;
    for (const one of held.splice(0)) executor.release(one as never);
    await answers();
    taken.push(executor.takenBytes);
  }
  // What the module keeps for all calls to come is there after the first half.
  expect(taken[9], taken.join(", ")).toBe(taken[4]);
  expect(codes.get("SHAPE")).toBeGreaterThan(calls / 50);
  expect(codes.get("an answer")).toBeGreaterThan(calls / 50);
  await Promise.all([backend.dispose(), other.dispose()]);
});
