// From what was recorded to what a device runs: fuse first, then lay out the arena over what is left.

import { type CommandList, type FusedCommand, type StepShape, type Tensor, tensorsOf } from "../command.ts";
import type { StateSpec } from "../device/state.ts";
import { JambaError } from "../errors.ts";
import { type ArenaBuffer, planArena } from "./arena.ts";
import { type Fusion, fusions } from "./fuse.ts";

/** What lowering must know of a device. */
export interface LoweringTarget {
  /** Those that it has kernels for. */
  readonly fuses: ReadonlySet<Fusion>;
  /** What the offset of every buffer is a multiple of: 256 where a device binds parts of the arena (WebGPU's default limit). */
  readonly alignBytes: number;
  /** The largest arena that one binding can hold; a step that needs more must be cut shorter. */
  readonly mostArenaBytes: number;
  /** Words that a command works in beside its operands; none for any if not given. */
  scratchWords?(command: FusedCommand, states: StateSpec): number;
}

/** A value that is handed over with its step. Of asked logits only the step knows how many there are. */
export type Output = { readonly name: string; readonly x: Tensor } | { readonly name: string; readonly x?: undefined };

/** A command list for one device: fused, with a place for every value. Immutable. */
export interface Plan {
  readonly step: StepShape;
  readonly states: StateSpec;
  readonly commands: readonly FusedCommand[];
  /** By `Tensor.buffer`. */
  readonly buffers: readonly ArenaBuffer[];
  /** By command: what it works in beside its operands, its own while it runs. */
  readonly scratch: readonly ArenaBuffer[];
  readonly arenaBytes: number;
  /** Of `input` commands, in their order. */
  readonly inputs: readonly { readonly name: string; readonly out: Tensor }[];
  /** Of `read` and `top` commands, in their order. */
  readonly outputs: readonly Output[];
  /** Of `keep` commands, in their order. */
  readonly kept: readonly { readonly name: string; readonly x: Tensor }[];
}

/** @throws JambaError OUT_OF_MEMORY when the arena is larger than `mostArenaBytes` */
export function lower(list: CommandList, target: LoweringTarget): Plan {
  const names = (Object.keys(fusions) as Fusion[]).filter((name) => target.fuses.has(name));
  const commands = names.reduce<readonly FusedCommand[]>((fused, name) => fusions[name](fused), list.commands);
  const scratch = commands.map((command) => target.scratchWords?.(command, list.states) ?? 0);
  const nBuffers = list.lengths.length;
  const touched = commands.map((command, i) => [...tensorsOf(command).map(({ tensor }) => tensor.buffer), nBuffers + i]);
  const { buffers, words } = planArena(touched, [...list.lengths, ...scratch], target.alignBytes / 4);
  if (words * 4 > target.mostArenaBytes)
    throw new JambaError(
      "OUT_OF_MEMORY",
      `step of ${list.step.L} tokens: expected values of at most ${target.mostArenaBytes} bytes, found ${words * 4}; read fewer tokens at a time`,
    );
  return Object.freeze({
    step: list.step,
    states: list.states,
    commands,
    buffers: buffers.slice(0, nBuffers),
    scratch: buffers.slice(nBuffers),
    arenaBytes: words * 4,
    inputs: commands.filter((c) => c.op === "input"),
    outputs: commands.flatMap((c): Output[] => (c.op === "read" ? [c] : c.op === "top" ? [{ name: `${c.name}.asked` }] : [])),
    kept: commands.filter((c) => c.op === "keep"),
  });
}

/**
 * The same list with everything read that its commands write: the debugger. Since results in between are read, nothing is fused.
 *
 * @returns also the names to read, by command
 */
export function traced(list: CommandList): { readonly list: CommandList; readonly written: readonly (readonly string[])[] } {
  const written: string[][] = [];
  const commands = list.commands.flatMap((command, i) => {
    const results = tensorsOf(command).filter(({ writes }) => writes);
    written.push(results.map((_, j) => `${i}.${j}`));
    return [command, ...results.map(({ tensor }, j) => ({ op: "read", name: `${i}.${j}`, x: tensor }) as const)];
  });
  return { list: { ...list, commands }, written };
}
