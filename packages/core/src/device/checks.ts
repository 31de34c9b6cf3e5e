// The door: the integers of steps, copies and states are checked here, once for all devices, so that no kernel has to.

import type { Tensor as HostTensor } from "onnxruntime-common";
import type { CommandList } from "../command.ts";
import { DtypeError, ShapeError } from "../errors.ts";
import type { StepInputs } from "./backend.ts";
import type { HostState } from "./host-state.ts";
import { type StateAddress, type StateCopies, type StateSpec, type StateStore, statePartsOf } from "./state.ts";

/** Tokens of one sequence: what fits a word with room for one step. */
const maxSeen = 2 ** 30;

/** Whether sequences have pages at all. */
export const hasPages = ({ layers }: Pick<StateSpec, "layers">) => layers.some(({ kind }) => kind === "attention");

/**
 * Checks the integers of a step against its list and states.
 * @throws ShapeError, DtypeError
 */
export function checkInputs(list: CommandList, states: StateStore, inputs: StepInputs): void {
  const { L, nSequences, nRows } = list.step;
  const { ids, starts, rows, temperatures } = inputs;
  for (const name of ["ids", "rows", "starts"] as const) expectArray(name, inputs[name], Int32Array);
  expect(ids.length === L, "ids", `${L} (the list was recorded for L = ${L})`, ids.length);
  expect(rows.length === nRows, "rows", `${nRows}`, rows.length);
  expect(starts.length === nSequences + 1, "starts", `${nSequences + 1}`, starts.length);
  expect(inputs.states.length === nSequences, "states", `${nSequences}`, inputs.states.length);
  expect(starts[0] === 0 && starts[nSequences] === L, "starts", `0 … ${L}`, `${starts[0]} … ${starts[nSequences]}`);
  for (const row of rows) expect(row >= 0 && row < L, "rows", `a token in [0, ${L})`, row);
  if (temperatures) {
    expectArray("temperatures", temperatures, Float32Array);
    expect(temperatures.length === nRows, "temperatures", `${nRows}`, temperatures.length);
    for (const T of temperatures) expect(T > 0 && T < Number.POSITIVE_INFINITY, "temperatures", "numbers above 0", T);
  }
  const hasTop = list.commands.some(({ op }) => op === "top");
  expect(hasTop || !inputs.asked, "asked", "ids only for a list with top", "some");
  for (const command of list.commands) {
    if (command.op === "embed") {
      const vocabSize = command.table.shape[0];
      for (const id of ids) expect(id >= 0 && id < vocabSize, "ids", `a token id in [0, ${vocabSize})`, id);
    } else if (command.op === "top") checkAsked(inputs, nRows, command.logits.shape[1]);
  }
  const slots = new Set<number>();
  for (const [i, address] of inputs.states.entries()) {
    const tokens = starts[i + 1] - starts[i];
    expect(tokens >= 0, "starts", "a sequence that does not end before it starts", `${starts[i]} … ${starts[i + 1]}`);
    slots.add(address.slot);
    expect(address.seen >= 0, "seen", "a count of tokens", address.seen);
    checkAddress(states, { ...address, seen: address.seen + tokens });
  }
  expect(slots.size === nSequences, "slots", "each slot once in a step", `${nSequences} sequences in ${slots.size} slots`);
  if (inputs.copies) checkCopies(states, inputs.copies);
}

function checkAsked({ asked }: StepInputs, nRows: number, vocabSize: number): void {
  if (!asked) return;
  const { starts, ids } = asked;
  expectArray("asked.starts", starts, Int32Array);
  expectArray("asked.ids", ids, Int32Array);
  const ascends = starts.length === nRows + 1 && starts.every((start, i) => (i === 0 ? start === 0 : start >= starts[i - 1]));
  expect(ascends && starts[nRows] === ids.length, "asked.starts", `${nRows + 1} that rise from 0 to ${ids.length}`, `[${starts}]`);
  for (const id of ids) expect(id >= 0 && id < vocabSize, "asked.ids", `a token id in [0, ${vocabSize})`, id);
}

/** @throws ShapeError when slot or pages lie outside the store, or too few pages hold `seen` tokens */
export function checkAddress(states: StateStore, { slot, pages, seen }: StateAddress): void {
  expectIndex("state: slot", slot, states.nSlots);
  expectCount("state: seen", seen);
  if (!hasPages(states.spec)) return;
  if (seen > maxSeen) throw new ShapeError(`state: seen: expected at most ${maxSeen} tokens, found ${seen}`);
  const nPages = Math.ceil(seen / states.spec.pageTokens);
  if (pages.length < nPages) throw new ShapeError(`state: pages: expected ${nPages} for ${seen} tokens, found ${pages.length}`);
  for (let i = 0; i < pages.length; i++) expectIndex("state: pages", pages[i], states.nPages);
}

/** @throws ShapeError for places outside the store, and where the order of the pairs would decide what is copied */
export function checkCopies(states: StateStore, { slots = [], pages = [] }: StateCopies): void {
  const check = (what: string, pairs: readonly (readonly [number, number])[], count: number) => {
    for (const index of pairs.flat()) expectIndex(`copies: ${what}`, index, count);
    if (pairs.length < 2) return;
    const targets = new Set(pairs.map(([, to]) => to));
    if (targets.size < pairs.length || pairs.some(([from, to]) => from !== to && targets.has(from)))
      throw new ShapeError(`copies: ${what}: expected targets that are no other pair's source or target, found [${pairs.join("], [")}]`);
  };
  check("slot", slots, states.nSlots);
  check("page", pages, states.nPages);
}

/** @throws ShapeError when a portable state does not fit the layers of `spec` */
export function checkState(spec: Pick<StateSpec, "layers">, seen: number, state: HostState): void {
  const expectState = (ok: boolean, what: string, expected: string, found: unknown) => {
    if (!ok) throw new ShapeError(`state: ${what}: expected ${expected}, found ${found}; is it of another model?`);
  };
  expectState(state.seen === seen, "seen", `${seen} tokens`, state.seen);
  expectState(state.layers.length === spec.layers.length, "layers", `${spec.layers.length}`, state.layers.length);
  for (const [layer, { kind }] of spec.layers.entries())
    expectState(state.layers[layer].kind === kind, `layer ${layer}`, kind, state.layers[layer].kind);
  for (const { layer, name, shape } of statePartsOf({ ...spec, kvDtype: "f32" }, seen)) {
    const tensor = (state.layers[layer] as unknown as Record<string, HostTensor>)[name];
    const found = `${tensor?.type} [${tensor?.dims?.join(", ")}]`;
    expectState(found === `float32 [${shape.join(", ")}]`, `layer ${layer} ${name}`, `float32 [${shape.join(", ")}]`, found);
    const values = (tensor.data as Float32Array).length;
    expectState(values === tensor.size, `layer ${layer} ${name}`, `${tensor.size} values`, values);
  }
}

/** @throws ShapeError when `count` is none */
export function expectCount(what: string, count: number): void {
  if (!Number.isSafeInteger(count) || count < 0) throw new ShapeError(`${what}: expected a count, found ${count}`);
}

function expectIndex(what: string, index: number, count: number): void {
  if (!(Number.isInteger(index) && index >= 0 && index < count))
    throw new ShapeError(`${what}: expected one in [0, ${count}), found ${index}`);
}

function expect(ok: boolean, what: string, expected: string, found: unknown): void {
  if (!ok) throw new ShapeError(`step: ${what}: expected ${expected}, found ${found}`);
}

function expectArray(name: string, found: unknown, type: Int32ArrayConstructor | Float32ArrayConstructor): void {
  if (!(found instanceof type))
    throw new DtypeError(
      `step: ${name}: expected ${type.name}, found ${(found as object | undefined)?.constructor?.name ?? String(found)}`,
    );
}
