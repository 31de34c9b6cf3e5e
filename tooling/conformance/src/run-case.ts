// Runs one case on a backend with numbers drawn from the case's name, so that every backend sees the same ones.

import {
  type AskedIds,
  type Backend,
  type CommandList,
  type FloatDtype,
  type HostState,
  HostTensor,
  matrixOf,
  openReference,
  readHostState,
  record,
  runOnce,
  type StateAddress,
  type StateStore,
  type StepInputs,
  sourceOf,
  traced,
  type Weight,
  type WeightDtype,
  type WeightSource,
} from "@jamba/core";
import type { Case } from "./cases.ts";
import { compare, type Difference, kvTolerances, type Tolerances, toleranceOf, tolerances } from "./compare.ts";
import { normal, seeded, seedOf, startsOf } from "./random.ts";

/** Few tokens, so that short sequences cross the borders of pages. */
export const pageTokens = 3;
const pagesPerSequence = 16;

export interface CaseRun {
  /** Of each step, by name of `read`. */
  readonly reads: ReadonlyMap<string, HostTensor>[];
  /** After the last step, by sequence. */
  readonly states: readonly HostState[];
  /** Parts of states that some command advances: the others are undefined. All if not given. */
  readonly advanced?: ReadonlySet<string>;
}

export interface Mismatch extends Difference {
  readonly where: string;
  readonly tolerance: number;
}

/** The first value of a case that leaves the table, or nothing. */
export async function findMismatch(
  test: Case,
  dtype: WeightDtype,
  backend: Backend,
  { wider, kvDtype = "f32" }: { wider?: Tolerances; kvDtype?: FloatDtype } = {},
): Promise<Mismatch | undefined> {
  const [found, expected] = [valuesOf(await runCase(test, dtype, backend, kvDtype)), await expectedOf(test, dtype, backend, kvDtype)];
  const tolerance = Math.max(toleranceOf(test, dtype, wider), kvTolerances[kvDtype]);
  for (const [where, value] of expected) {
    const difference = compare(found.get(where) ?? [], value);
    if (!(difference.nmse <= tolerance)) return { where, tolerance, ...difference };
  }
  return undefined;
}

interface Expected {
  /** What the weights are held as, where that is the backend's to say. */
  readonly held: readonly Float32Array[];
  readonly values: Map<string, ArrayLike<number>>;
}

/** What the reference gave before: it takes most of a case's time, and most backends want the same of it. */
const known = new WeakMap<Case, Map<string, Expected[]>>();

async function expectedOf(test: Case, dtype: WeightDtype, backend: Backend, kvDtype: FloatDtype): Promise<Map<string, ArrayLike<number>>> {
  const [as, oracle, held] = await oracleOf(test, dtype, backend);
  const byDtypes = known.get(test) ?? new Map<string, Expected[]>();
  known.set(test, byDtypes);
  const key = `${dtype} ${kvDtype}`;
  const before = byDtypes.get(key) ?? [];
  byDtypes.set(key, before);
  const same = before.find((one) => one.held.every((values, i) => isSame(values, held[i])));
  if (same) return same.values;
  const values = valuesOf(await runCase(test, as, oracle, kvDtype));
  before.push({ held, values });
  return values;
}

/** To the bit. */
function isSame(a: Float32Array, b: Float32Array): boolean {
  const [x, y] = [a, b].map(({ buffer, byteOffset, length }) => new Int32Array(buffer, byteOffset, length));
  return x.length === y.length && x.every((bits, i) => bits === y[i]);
}

/**
 * The reference, and what it opens weights as. Quantised ones it takes as the numbers that the backend's own stand for,
 * which `embed` tells row by row; only of `embed` itself it takes those that were quantised.
 */
async function oracleOf(
  test: Case,
  dtype: WeightDtype,
  backend: Backend,
): Promise<[as: WeightDtype, oracle: Backend, held: readonly Float32Array[]]> {
  const reference = openReference();
  if (!dtype.startsWith("q")) return [dtype, reference, []];
  if (test.op === "embed") return ["f32", reference, []];
  const held = new Map<string, Float32Array>();
  for (const source of weightSources(test))
    if (!test.exact?.includes(source.name)) held.set(source.name, await heldValues(source, dtype, backend));
  const openWeight: Backend["openWeight"] = async (source, as) => {
    const values = held.get(source.name);
    return reference.openWeight(values ? sourceOf(source.name, source.shape, values) : source, as);
  };
  const oracle = new Proxy(reference, { get: (target, key) => (key === "openWeight" ? openWeight : bound(target, key as keyof Backend)) });
  return ["f32", oracle, [...held.values()]];
}

function bound(backend: Backend, key: keyof Backend): unknown {
  const value = backend[key];
  return typeof value === "function" ? value.bind(backend) : value;
}

/** The numbers that a weight stands for once it is held as `dtype`, row by row. */
export async function heldValues(source: WeightSource, dtype: WeightDtype, backend: Backend): Promise<Float32Array> {
  const { rows, columns } = matrixOf(source.shape);
  const table = await backend.openWeight({ ...source, shape: [rows, columns] }, dtype);
  const store = await backend.createStates({ layers: [], pageTokens, kvDtype: "f32" });
  await store.reserve(1, 0);
  const list = record({ L: rows, nSequences: 1, nRows: 0 }, store.spec, (ops) => ops.read("rows", ops.embed(table)));
  const read = await runOnce(backend, list, store, {
    ids: Int32Array.from({ length: rows }, (_, i) => i),
    starts: Int32Array.of(0, rows),
    states: [{ slot: 0, pages: [], seen: 0 }],
    rows: new Int32Array(0),
  });
  store.dispose();
  table[Symbol.dispose]();
  return read.get("rows")!.data as Float32Array;
}

/** Everything that a run gave, by name. */
export function valuesOf({ reads, states, advanced }: CaseRun): Map<string, ArrayLike<number>> {
  const values = new Map<string, ArrayLike<number>>();
  for (const [step, read] of reads.entries()) for (const [name, t] of read) values.set(`step ${step}: ${name}`, t.data as Float32Array);
  for (const [i, state] of states.entries()) {
    for (const [layer, parts] of state.layers.entries()) {
      for (const [part, t] of Object.entries(parts)) {
        if (advanced?.has(part) === false) continue;
        if (typeof t === "object") values.set(`sequence ${i}: state ${layer}.${part}`, (t as HostTensor).data as Float32Array);
      }
    }
  }
  return values;
}

export async function runCase(test: Case, dtype: WeightDtype, backend: Backend, kvDtype?: FloatDtype): Promise<CaseRun> {
  const weights = await openWeights(test, dtype, backend);
  const store = await openStates(test, backend, kvDtype);
  const addresses = test.steps[0].map((_, i) => addressOf(i));
  const reads: ReadonlyMap<string, HostTensor>[] = [];
  const advanced = new Set<string>();
  for (const [at, tokens] of test.steps.entries()) {
    const { list, inputs } = recordStep(test, weights, store, addresses, tokens, at);
    for (const { op } of list.commands) for (const part of advancedBy[op as keyof typeof advancedBy] ?? []) advanced.add(part);
    reads.push(await runOnce(backend, list, store, inputs));
    for (const [i, n] of tokens.entries()) addresses[i].seen += n;
  }
  const states = test.layers ? await Promise.all(addresses.map((address) => readHostState(backend, store, address))) : [];
  store.dispose();
  for (const weight of Object.values(weights)) weight[Symbol.dispose]();
  return { reads, states, advanced };
}

/** Parts of its layer's state. */
const advancedBy = { causalConv: ["conv"], selectiveScan: ["h"], attention: ["k", "v"] } as const;

export async function openStates(test: Case, backend: Backend, kvDtype: FloatDtype = "f32"): Promise<StateStore> {
  const store = await backend.createStates({ layers: test.layers ?? [], pageTokens, kvDtype });
  await store.reserve(test.steps[0].length + 2, (test.steps[0].length + 2) * pagesPerSequence);
  return store;
}

/** Pages of a sequence lie apart and in no order, as they do after some use. */
export function addressOf(i: number): StateAddress & { seen: number } {
  return {
    slot: i,
    pages: Array.from({ length: pagesPerSequence }, (_, n) => i * pagesPerSequence + ((n * 5 + 3) % pagesPerSequence)),
    seen: 0,
  };
}

export async function openWeights(test: Case, dtype: WeightDtype, backend: Backend): Promise<Record<string, Weight & Disposable>> {
  const weights: Record<string, Weight & Disposable> = {};
  for (const source of weightSources(test))
    weights[source.name] = await backend.openWeight(source, test.exact?.includes(source.name) ? "f32" : dtype);
  return weights;
}

function* weightSources(test: Case): Generator<WeightSource> {
  for (const [name, shape] of Object.entries(test.weights ?? {})) {
    const random = seeded(seedOf(`${test.name} ${name}`));
    const columns = shape.at(-1)!;
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => normal(random) / Math.sqrt(columns || 1));
    // A must be negative; norms stay near 1.
    if (name === "A") for (let i = 0; i < values.length; i++) values[i] = -Math.exp(values[i] * 2);
    if (/norm|^weight$/i.test(name)) for (let i = 0; i < values.length; i++) values[i] += 1;
    yield sourceOf(name, shape, values);
  }
}

export function recordStep(
  test: Case,
  weights: Readonly<Record<string, Weight>>,
  store: StateStore,
  addresses: readonly StateAddress[],
  tokens: readonly number[],
  at: number,
): { list: CommandList; inputs: StepInputs } {
  const starts = startsOf(tokens);
  const L = starts.at(-1)!;
  const rows = starts.slice(1).flatMap((end, i) => (end > starts[i] ? [end - 1] : []));
  const random = seeded(seedOf(`${test.name} ${at}`));
  const tensors = new Map<string, HostTensor>();
  const list = record({ L, nSequences: tokens.length, nRows: rows.length }, store.spec, (ops) => {
    const inputs = Object.entries(test.inputs ?? {}).map(([name, columns]) => {
      const values = Float32Array.from({ length: L * columns }, () => normal(random) * (test.spread ?? 1));
      tensors.set(name, new HostTensor("float32", values, [L, columns]));
      return [name, ops.input(name, [L, columns])] as const;
    });
    test.build(ops, weights, Object.fromEntries(inputs));
  });
  const ids = Int32Array.from({ length: L }, () => Math.floor(random() * (test.vocabSize ?? 1)));
  const states = addresses.map((address) => ({ ...address }));
  const inputs = { ids, starts: Int32Array.from(starts), states, rows: Int32Array.from(rows), tensors };
  if (test.op !== "top") return { list, inputs };
  for (const { data } of tensors.values()) spoil(data as Float32Array, random);
  const temperatures = Float32Array.from(rows, () => 0.2 + 2 * random());
  return { list, inputs: { ...inputs, temperatures, asked: someIds(rows.length, test.vocabSize ?? 0, random) } };
}

/** Logits as broken weights give them, among good ones: every kind of value that counts for nothing, and equal ones. */
function spoil(values: Float32Array, random: () => number): void {
  const kinds = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e30, -1e30, 1, 1, -0, 0];
  for (let i = 0; i < values.length; i++) if (random() < 0.2) values[i] = kinds[Math.floor(random() * kinds.length)];
}

function someIds(nRows: number, vocabSize: number, random: () => number): AskedIds {
  const counts = Array.from({ length: nRows }, () => (vocabSize > 0 ? Math.floor(random() * 5) : 0));
  const starts = Int32Array.from(startsOf(counts));
  return { starts, ids: Int32Array.from({ length: starts[nRows] }, () => Math.floor(random() * vocabSize)) };
}

/** The commands of a case's first step whose results differ from the reference's: the first names the kernel at fault. */
export async function firstFault(test: Case, dtype: WeightDtype, backend: Backend, wider?: Tolerances): Promise<string | undefined> {
  const writtenBy = async (on: Backend, dtype: WeightDtype) => {
    const weights = await openWeights(test, dtype, on);
    const store = await openStates(test, on);
    const addresses = test.steps[0].map((_, i) => addressOf(i));
    const { list, inputs } = recordStep(test, weights, store, addresses, test.steps[0], 0);
    const trace = traced(list);
    const values = await runOnce(on, trace.list, store, inputs);
    return trace.written.map((names, i) => ({
      op: `${i} ${list.commands[i].op}`,
      written: names.map((name) => values.get(name)!.data as Float32Array),
    }));
  };
  const [as, oracle] = await oracleOf(test, dtype, backend);
  const [found, expected] = [await writtenBy(backend, dtype), await writtenBy(oracle, as)];
  const tolerance = Math.max(tolerances[dtype], wider?.[dtype] ?? 0);
  const fault = expected.findIndex(({ written }, i) => written.some((values, j) => compare(found[i].written[j], values).nmse > tolerance));
  return fault < 0 ? undefined : expected[fault].op;
}
