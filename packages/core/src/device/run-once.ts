// A list that runs once: examples, tests, and tools that look at one step.

import type { Tensor as HostTensor } from "onnxruntime-common";
import type { CommandList } from "../command.ts";
import type { Backend, StepInputs, SubmitOptions } from "./backend.ts";
import type { StateStore } from "./state.ts";

/** Prepares a list, runs it and gives all that it reads and keeps, by name. Who runs a list more than once keeps its program instead. */
export async function runOnce(
  backend: Backend,
  list: CommandList,
  states: StateStore,
  inputs: StepInputs,
  options?: SubmitOptions,
): Promise<ReadonlyMap<string, HostTensor>> {
  const program = await backend.prepare(list, states);
  try {
    const step = backend.submit(program, inputs, options);
    await step.done;
    const names = list.commands.flatMap((c) => (c.op === "read" || c.op === "keep" ? [c.name] : c.op === "top" ? [`${c.name}.asked`] : []));
    return new Map(await Promise.all(names.map(async (name) => [name, await step.read(name)] as const)));
  } finally {
    program[Symbol.dispose]();
  }
}
