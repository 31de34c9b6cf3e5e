// A state as plain tensors of f32, whatever a device keeps it in.

import { Tensor as HostTensor } from "onnxruntime-common";
import { decodeFloats } from "../dtype.ts";
import type { Backend } from "./backend.ts";
import { checkState } from "./checks.ts";
import type { StateAddress, StatePart, StateStore } from "./state.ts";

/** The portable form: what a saved file is made of, and what another backend can go on from. All f32. */
export interface HostState {
  readonly seen: number;
  readonly layers: readonly HostLayerState[];
}

export type HostLayerState =
  | {
      readonly kind: "mamba";
      /** [dInner, dConv - 1]: the last inputs of the convolution, oldest first. */
      readonly conv: HostTensor;
      /** [dInner, dState] */
      readonly h: HostTensor;
    }
  | {
      readonly kind: "attention";
      /** [nKvHeads, seen, headDim], as projected: Jamba has no positions (Jamba §6.5). */
      readonly k: HostTensor;
      readonly v: HostTensor;
    };

/** All parts of a state as tensors of f32. */
export async function toHostState(seen: number, parts: AsyncIterable<StatePart> | Iterable<StatePart>): Promise<HostState> {
  const layers: Record<string, unknown>[] = [];
  for await (const { layer, name, dtype, shape, bytes } of parts) {
    layers[layer] ??= { kind: name === "conv" || name === "h" ? "mamba" : "attention" };
    layers[layer][name] = new HostTensor("float32", decodeFloats(bytes, dtype), shape);
  }
  return { seen, layers: layers as unknown as HostLayerState[] };
}

/** The reverse. */
export function fromHostState({ layers }: HostState): StatePart[] {
  return layers.flatMap((from, layer) => {
    const tensors = from.kind === "mamba" ? { conv: from.conv, h: from.h } : { k: from.k, v: from.v };
    return Object.entries(tensors).map(([name, { data, dims }]): StatePart => {
      const { buffer, byteOffset, byteLength } = data as Float32Array;
      // An empty array may lie in a buffer that was given away.
      const bytes = byteLength === 0 ? new Uint8Array(0) : new Uint8Array(buffer, byteOffset, byteLength);
      return { layer, name: name as StatePart["name"], dtype: "f32", shape: dims, bytes };
    });
  });
}

/** @throws what `Backend.readState` throws */
export async function readHostState(backend: Backend, states: StateStore, address: StateAddress): Promise<HostState> {
  return toHostState(address.seen, backend.readState(states, address));
}

/** @throws ShapeError when `state` is not one of this store, what `Backend.writeState` throws */
export async function writeHostState(backend: Backend, states: StateStore, address: StateAddress, state: HostState): Promise<void> {
  checkState(states.spec, address.seen, state);
  await backend.writeState(states, address, fromHostState(state));
}
