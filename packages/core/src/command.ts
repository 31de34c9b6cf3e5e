// A recorded step: values, the commands that compute them, and where in the arena they live.

import type { StateSpec } from "./state.ts";
import type { Weight } from "./weight.ts";

/** A matrix inside one recording: a name, not numbers. Row-major; a column slice shares its parent's buffer. */
export interface Tensor {
  readonly kind: "tensor";
  /** Index into `CommandList.buffers`. */
  readonly buffer: number;
  readonly dtype: "f32" | "i32";
  readonly shape: readonly [rows: number, columns: number];
  /** Elements from the start of the buffer to the first one. */
  readonly offset: number;
  /** Elements from one row to the next. */
  readonly rowStride: number;
}

/** What a recording depends on: steps of equal shape can replay one list. */
export interface StepShape {
  /** Tokens of all sequences together. */
  readonly L: number;
  readonly nSequences: number;
  /** Tokens whose logits are wanted. */
  readonly nRows: number;
}

/** Experts per token, best first, and their softmax weights, which do not sum to 1. */
export interface Routes {
  /** [L, nActiveExperts] i32 */
  readonly experts: Tensor;
  /** [L, nActiveExperts] */
  readonly weights: Tensor;
}

export interface ScanArgs {
  readonly x: Tensor;
  readonly z: Tensor;
  readonly dt: Tensor;
  readonly B: Tensor;
  readonly C: Tensor;
  readonly A: Weight;
  readonly D: Weight;
  readonly dtBias: Weight;
}

/** `accumulate`: `out` holds the residual stream and the result is added to it. `layer` indexes `StateSpec.layers`. */
export type Command =
  | { op: "input"; name: string; out: Tensor }
  | { op: "embed"; table: Weight; out: Tensor }
  | { op: "rmsNorm"; x: Tensor; weight: Weight; eps: number; out: Tensor }
  | { op: "matmul"; x: Tensor; weights: readonly Weight[]; bias?: Weight; accumulate: boolean; outs: readonly Tensor[] }
  | { op: "causalConv"; x: Tensor; weight: Weight; bias?: Weight; layer: number; out: Tensor }
  | ({ op: "selectiveScan"; layer: number; out: Tensor } & ScanArgs)
  | { op: "attention"; q: Tensor; k: Tensor; v: Tensor; layer: number; out: Tensor }
  | { op: "swiglu"; gate: Tensor; up: Tensor; out: Tensor }
  | { op: "route"; logits: Tensor; experts: Tensor; weights: Tensor }
  | {
      op: "experts";
      x: Tensor;
      routes: Routes;
      gateProj: Weight;
      upProj: Weight;
      downProj: Weight;
      accumulate: boolean;
      out: Tensor;
    }
  | { op: "gatherRows"; x: Tensor; out: Tensor }
  | { op: "read"; name: string; x: Tensor };

export type Op = Command["op"];
export type CommandOf<O extends Op> = Extract<Command, { op: O }>;

/** Place of a buffer in the arena, in 4-byte words. Buffers whose lives do not overlap share words. */
export interface ArenaBuffer {
  readonly offset: number;
  readonly length: number;
}

/** Immutable, so a backend may hang a graph or bind groups on its identity and replay it. */
export interface CommandList {
  readonly step: StepShape;
  readonly states: StateSpec;
  readonly commands: readonly Command[];
  readonly buffers: readonly ArenaBuffer[];
  readonly arenaBytes: number;
}

function isTensor(value: unknown): value is Tensor {
  return typeof value === "object" && value !== null && (value as Tensor).kind === "tensor";
}

const outputNames = new Set(["out", "outs", "experts", "weights"]);

/** The tensors that a command touches; `writes` holds for those it makes or adds to. */
export function tensorsOf(command: Command): { name: string; tensor: Tensor; writes: boolean }[] {
  const found: { name: string; tensor: Tensor; writes: boolean }[] = [];
  for (const [name, operand] of Object.entries(command)) {
    if (name === "routes") {
      const routes = operand as Routes;
      found.push({ name: "experts", tensor: routes.experts, writes: false }, { name: "weights", tensor: routes.weights, writes: false });
      continue;
    }
    for (const tensor of (Array.isArray(operand) ? operand : [operand]).filter(isTensor)) {
      found.push({ name, tensor, writes: outputNames.has(name) });
    }
  }
  return found;
}

/** One line per command: op, operands with shapes, weights with dtypes, arena offset of what is written. */
export function printList(list: CommandList): string {
  const tensor = (t: Tensor) => `%${t.buffer}${t.offset ? `+${t.offset}` : ""}[${t.shape.join(", ")}]${t.dtype === "i32" ? " i32" : ""}`;
  const at = (t: Tensor) => `@${(list.buffers[t.buffer].offset + t.offset) * 4}`;
  const show = (value: unknown): string => {
    if (isTensor(value)) return tensor(value);
    if (Array.isArray(value)) return value.map(show).join(" ");
    if (typeof value !== "object" || value === null) return String(value);
    if ("experts" in value) return Object.values(value).map(show).join(" ");
    const weight = value as Weight;
    return `${weight.name}[${weight.shape.join(", ")}] ${weight.dtype}`;
  };
  const { L, nSequences, nRows } = list.step;
  const lines = [`step L=${L} nSequences=${nSequences} nRows=${nRows} arena=${list.arenaBytes} bytes`];
  for (const [i, command] of list.commands.entries()) {
    const written = tensorsOf(command).filter((t) => t.writes);
    const names = new Set(["op", ...written.map((t) => t.name)]);
    const operands = Object.entries(command).filter(([name, value]) => !names.has(name) && value !== undefined);
    const shown = operands.map(([name, value]) => `${name}=${show(value)}`).join(" ");
    const result = written.map((t) => `${tensor(t.tensor)} ${at(t.tensor)}`).join(", ");
    lines.push(`${String(i).padStart(4)} ${command.op.padEnd(13)} ${shown}${result && ` -> ${result}`}`);
  }
  return lines.join("\n");
}
