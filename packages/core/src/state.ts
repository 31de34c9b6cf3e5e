// What a sequence remembers between steps, and where a backend keeps it.

import type { Tensor as HostTensor } from "onnxruntime-common";
import type { FloatDtype } from "./dtype.ts";

export interface MambaStateSpec {
  readonly kind: "mamba";
  readonly dInner: number;
  readonly dState: number;
  readonly dConv: number;
}

export interface AttentionStateSpec {
  readonly kind: "attention";
  readonly nKvHeads: number;
  readonly headDim: number;
}

export interface StateSpec {
  readonly layers: readonly (MambaStateSpec | AttentionStateSpec)[];
  /** Tokens per KV page. */
  readonly pageTokens: number;
  readonly kvDtype: FloatDtype;
}

/**
 * The states of many sequences on one device: slots (convolution window and h of every Mamba layer, f32) and pages
 * (keys and values of every attention layer, `pageTokens` tokens each). Who owns which is the caller's to count.
 *
 * What a fresh slot or page holds does not matter: a sequence with `seen` = 0 starts from zeros.
 */
export interface StateStore {
  readonly spec: StateSpec;
  readonly nSlots: number;
  readonly nPages: number;
  /**
   * Grows to at least these counts; what is there stays where it is.
   * @throws JambaError OUT_OF_MEMORY, with nothing changed
   */
  reserve(nSlots: number, nPages: number): void;
  /**
   * Gives back what lies beyond these counts, as far as that is whole pieces of memory: the counts may stay larger.
   * What a step that was submitted before writes there is lost.
   */
  shrink(nSlots: number, nPages: number): void;
  dispose(): void;
}

/** Where the state of one sequence lives, and how many tokens it has seen. */
export interface StateAddress {
  readonly slot: number;
  /** In order of tokens; `ceil(seen / pageTokens)` of them are filled. */
  readonly pages: readonly number[];
  readonly seen: number;
}

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

/** Bytes of one slot and of one page over all layers. */
export function stateBytes(spec: StateSpec, kvBytes: number): { slot: number; page: number } {
  let slot = 0;
  let page = 0;
  for (const layer of spec.layers) {
    if (layer.kind === "mamba") slot += 4 * layer.dInner * (layer.dState + layer.dConv - 1);
    else page += 2 * kvBytes * layer.nKvHeads * layer.headDim * spec.pageTokens;
  }
  return { slot, page };
}
