// A recorded step: values and the commands that compute them. Where the values live is settled in lower/, for each device.

import type { StateSpec } from "./device/state.ts";
import type { Weight } from "./device/weight.ts";

/** A matrix inside one recording: a name, not numbers. Row-major; a column slice shares its parent's buffer. */
export interface Tensor {
  readonly kind: "tensor";
  /** Index into `CommandList.lengths`. */
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
  | { op: "top"; name: string; logits: Tensor; k: number; ids: Tensor; values: Tensor; sums: Tensor }
  | { op: "read"; name: string; x: Tensor }
  | { op: "keep"; name: string; x: Tensor };

export type Op = Command["op"];
export type CommandOf<O extends Op> = Extract<Command, { op: O }>;

/** A norm of x that its one reader takes on the way. */
export interface Norm {
  readonly weight: Weight;
  readonly eps: number;
}

/** What lowering makes: also commands that stand for several recorded ones. `gateUp` is silu(gateProj x) · (upProj x) in one pass over x. */
export type FusedCommand =
  | Exclude<Command, { op: "matmul" }>
  | (CommandOf<"matmul"> & { norm?: Norm })
  | { op: "gateUp"; x: Tensor; norm?: Norm; gateProj: Weight; upProj: Weight; out: Tensor };

export type FusedOp = FusedCommand["op"];
export type FusedCommandOf<O extends FusedOp> = Extract<FusedCommand, { op: O }>;

/** Immutable: steps of equal shape share one. */
export interface CommandList {
  readonly step: StepShape;
  readonly states: StateSpec;
  readonly commands: readonly Command[];
  /** 4-byte words of each buffer. */
  readonly lengths: readonly number[];
}

function isTensor(value: unknown): value is Tensor {
  return typeof value === "object" && value !== null && (value as Tensor).kind === "tensor";
}

const outputNames = new Set(["out", "outs", "experts", "weights", "ids", "values", "sums"]);

/** The tensors that a command touches; `writes` holds for those it makes or adds to. */
export function tensorsOf(command: FusedCommand): { name: string; tensor: Tensor; writes: boolean }[] {
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

/** The weights that a command multiplies with. */
export function weightsOf(command: FusedCommand): Weight[] {
  const isWeight = (value: unknown): value is Weight =>
    typeof value === "object" && value !== null && "name" in value && "dtype" in value && "shape" in value;
  return Object.values({ ...command, normWeight: "norm" in command ? command.norm?.weight : undefined })
    .flat()
    .filter(isWeight);
}

/** One line per command: op, operands with shapes, weights with dtypes, what is written. */
export function printList({ step, commands }: Pick<CommandList, "step"> & { readonly commands: readonly FusedCommand[] }): string {
  const tensor = (t: Tensor) => `%${t.buffer}${t.offset ? `+${t.offset}` : ""}[${t.shape.join(", ")}]${t.dtype === "i32" ? " i32" : ""}`;
  const show = (value: unknown): string => {
    if (isTensor(value)) return tensor(value);
    if (Array.isArray(value)) return value.map(show).join(" ");
    if (typeof value !== "object" || value === null) return String(value);
    if ("experts" in value || "eps" in value) return Object.values(value).map(show).join(" ");
    const weight = value as Weight;
    return `${weight.name}[${weight.shape.join(", ")}] ${weight.dtype}`;
  };
  const { L, nSequences, nRows } = step;
  const lines = [`step L=${L} nSequences=${nSequences} nRows=${nRows}`];
  for (const [i, command] of commands.entries()) {
    const written = tensorsOf(command).filter((t) => t.writes);
    const names = new Set(["op", ...written.map((t) => t.name)]);
    const operands = Object.entries(command).filter(([name, value]) => !names.has(name) && value !== undefined);
    const shown = operands.map(([name, value]) => `${name}=${show(value)}`).join(" ");
    const result = written.map((t) => tensor(t.tensor)).join(", ");
    lines.push(`${String(i).padStart(4)} ${command.op.padEnd(13)} ${shown}${result && ` -> ${result}`}`);
  }
  return lines.join("\n");
}
