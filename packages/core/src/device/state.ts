// What a sequence remembers between steps, and where a backend keeps it.

import { decodeFloats, encodeFloats, type FloatDtype, floatBytes } from "../dtype.ts";

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
  reserve(nSlots: number, nPages: number): Promise<void>;
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
  readonly pages: ArrayLike<number>;
  readonly seen: number;
}

/** Pairs of from and to. No target is another pair's source, so that their order means nothing. */
export interface StateCopies {
  readonly slots?: readonly (readonly [from: number, to: number])[];
  readonly pages?: readonly (readonly [from: number, to: number])[];
}

/** One tensor of a state, in the format that it is kept in: little-endian, row-major. */
export interface StatePart {
  readonly layer: number;
  readonly name: "conv" | "h" | "k" | "v";
  readonly dtype: FloatDtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** What a state of `seen` tokens consists of, in order: of each layer conv [dInner, dConv - 1] and h [dInner, dState], or k and v [nKvHeads, seen, headDim]. */
export function statePartsOf({ layers, kvDtype }: Pick<StateSpec, "layers" | "kvDtype">, seen: number): Omit<StatePart, "bytes">[] {
  return layers.flatMap((spec, layer): Omit<StatePart, "bytes">[] => {
    if (spec.kind === "mamba") {
      const { dInner, dConv, dState } = spec;
      return [
        { layer, name: "conv", dtype: "f32", shape: [dInner, dConv - 1] },
        { layer, name: "h", dtype: "f32", shape: [dInner, dState] },
      ];
    }
    const shape = [spec.nKvHeads, seen, spec.headDim];
    return [
      { layer, name: "k", dtype: kvDtype, shape },
      { layer, name: "v", dtype: kvDtype, shape },
    ];
  });
}

export const partBytes = ({ shape, dtype }: Omit<StatePart, "bytes">) => shape.reduce((a, b) => a * b, floatBytes[dtype]);

/** The same part in another format, rounded half to even. */
export function convertPart(part: StatePart, dtype: FloatDtype): StatePart {
  if (part.dtype === dtype) return part;
  return { ...part, dtype, bytes: encodeFloats(decodeFloats(part.bytes, part.dtype), dtype) };
}

/** Bytes of one slot and of one page over all layers, without what a device adds to align them. */
export function stateBytes(spec: StateSpec): { slot: number; page: number } {
  let slot = 0;
  let page = 0;
  for (const layer of spec.layers) {
    if (layer.kind === "mamba") slot += 4 * layer.dInner * (layer.dState + layer.dConv - 1);
    else page += 2 * floatBytes[spec.kvDtype] * layer.nKvHeads * layer.headDim * spec.pageTokens;
  }
  return { slot, page };
}
