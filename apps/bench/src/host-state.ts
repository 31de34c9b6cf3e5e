// The state of a long conversation that was never read: random values, for what depends on lengths alone.

import { type HostState, HostTensor } from "@jamba/core";
import type { JambaConfig } from "jamba";
import { normals, type Random } from "./random.ts";

/** A prime, so that no two keys are alike. */
const poolValues = 1048573;

export function randomState(config: JambaConfig, seen: number, random: Random): HostState {
  const { dInner, dState, dConv, nKvHeads, headDim } = config;
  const pool = normals(random, poolValues, 1);
  const tensor = (dims: readonly number[]) => {
    const values = new Float32Array(dims.reduce((a, b) => a * b, 1));
    const skip = Math.floor(random() * poolValues);
    for (let at = -skip; at < values.length; at += poolValues)
      values.set(pool.subarray(Math.max(0, -at), values.length - at), Math.max(0, at));
    return new HostTensor("float32", values, dims);
  };
  const layers = config.layerKinds.map((kind) =>
    kind === "mamba"
      ? { kind, conv: tensor([dInner, dConv - 1]), h: tensor([dInner, dState]) }
      : { kind, k: tensor([nKvHeads, seen, headDim]), v: tensor([nKvHeads, seen, headDim]) },
  );
  return { seen, layers };
}
