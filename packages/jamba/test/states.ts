// Random states, and what they are compared by.

import { normal } from "@jamba/conformance";
import { type FloatDtype, type HostLayerState, type HostState, HostTensor, roundFloats, type StateSpec } from "@jamba/core";

type Layers = StateSpec["layers"];

/** A state that has seen `seen` tokens, its keys and values as a backend keeps them in `kvDtype`. */
export function randomState(random: () => number, layers: Layers, seen: number, kvDtype: FloatDtype = "f32"): HostState {
  const tensor = (dims: number[], dtype: FloatDtype = "f32") => {
    const values = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => normal(random));
    roundFloats(values, dtype);
    return new HostTensor("float32", values, dims);
  };
  return {
    seen,
    layers: layers.map((layer): HostLayerState => {
      if (layer.kind === "mamba") {
        const { kind, dInner, dConv, dState } = layer;
        return { kind, conv: tensor([dInner, dConv - 1]), h: tensor([dInner, dState]) };
      }
      const dims = [layer.nKvHeads, seen, layer.headDim];
      return { kind: layer.kind, k: tensor(dims, kvDtype), v: tensor(dims, kvDtype) };
    }),
  };
}

/** Every bit of a state, shapes too: NaN, -0 and all. */
export function bitsOf({ seen, layers }: HostState): unknown {
  const bits = ({ dims, data, type }: HostTensor) => {
    const { buffer, byteOffset, byteLength } = data as Float32Array;
    return `${type} [${dims.join(", ")}] ${Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).toString("base64")}`;
  };
  return { seen, layers: layers.map((l) => [l.kind, ...(l.kind === "mamba" ? [l.conv, l.h] : [l.k, l.v]).map(bits)]) };
}

export function randomIds(random: () => number, length: number, vocabSize: number): number[] {
  return Array.from({ length }, () => Math.floor(random() * vocabSize));
}
