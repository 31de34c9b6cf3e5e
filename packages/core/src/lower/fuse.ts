// Rewrites of neighbouring commands into one that saves a pass over memory. Each says when it changes nothing but rounding.

import { type FusedCommand, type Tensor, tensorsOf } from "../command.ts";

/** Fusions that some device has kernels for; a device names its own. */
export type Fusion = "norm into matmul" | "swiglu of two matmuls";

/** Takes commands in which nothing has a place yet, and gives as many or fewer. */
export type Rewrite = (commands: readonly FusedCommand[]) => FusedCommand[];

/** In the order in which they are applied: a gateUp takes its norm along. */
export const fusions: Readonly<Record<Fusion, Rewrite>> = {
  "swiglu of two matmuls": fuseGateUp,
  "norm into matmul": foldNorms,
};

/** A matmul of two weights whose results go into silu(gate) · up and nowhere else becomes a `gateUp` in the swiglu's place. */
function fuseGateUp(given: readonly FusedCommand[]): FusedCommand[] {
  const commands: (FusedCommand | undefined)[] = [...given];
  const uses = usesOf(given);
  for (const [j, c] of given.entries()) {
    if (c.op !== "swiglu" || uses.get(c.gate.buffer) !== 2 || uses.get(c.up.buffer) !== 2) continue;
    const i = given.findIndex((m) => m.op === "matmul" && m.outs.length === 2 && isSame(m.outs[0], c.gate) && isSame(m.outs[1], c.up));
    const m = given[i];
    if (m?.op !== "matmul" || m.accumulate || !staysUntil(given, m.x, i, j)) continue;
    commands[i] = undefined;
    commands[j] = { op: "gateUp", x: m.x, gateProj: m.weights[0], upProj: m.weights[1], out: c.out };
  }
  return commands.filter((c) => c !== undefined);
}

/** A norm that one matmul or gateUp reads, and nobody else, becomes part of it. */
function foldNorms(given: readonly FusedCommand[]): FusedCommand[] {
  const commands: (FusedCommand | undefined)[] = [...given];
  const uses = usesOf(given);
  for (const [i, c] of given.entries()) {
    if (c.op !== "rmsNorm" || uses.get(c.out.buffer) !== 2) continue;
    const j = given.findIndex((m) => (m.op === "matmul" || m.op === "gateUp") && isSame(m.x, c.out));
    const m = given[j];
    if ((m?.op !== "matmul" && m?.op !== "gateUp") || !staysUntil(given, c.x, i, j)) continue;
    // The kernel would read rows of x that it has overwritten.
    if (tensorsOf(m).some(({ tensor, writes }) => writes && tensor.buffer === c.x.buffer)) continue;
    commands[j] = { ...m, x: c.x, norm: { weight: c.weight, eps: c.eps } };
    commands[i] = undefined;
  }
  return commands.filter((c) => c !== undefined);
}

/** How many commands touch each buffer. */
function usesOf(commands: readonly FusedCommand[]): Map<number, number> {
  const uses = new Map<number, number>();
  for (const command of commands)
    for (const buffer of new Set(tensorsOf(command).map(({ tensor }) => tensor.buffer))) uses.set(buffer, (uses.get(buffer) ?? 0) + 1);
  return uses;
}

function isSame(a: Tensor, b: Tensor): boolean {
  return a.buffer === b.buffer && a.offset === b.offset && a.shape[0] === b.shape[0] && a.shape[1] === b.shape[1];
}

/** Whether nothing is written to the buffer of `x` between two commands: the residual stream is added to in place. */
function staysUntil(commands: readonly FusedCommand[], x: Tensor, from: number, to: number): boolean {
  return commands
    .slice(from + 1, to)
    .every((command) => tensorsOf(command).every(({ tensor, writes }) => !writes || tensor.buffer !== x.buffer));
}
