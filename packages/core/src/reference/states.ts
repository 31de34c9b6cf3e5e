// Slots and pages of the reference backend: one array per layer and slot or page, made when first asked for.

import type { DriverStates, PackedCopies } from "../device/driver.ts";
import type { AttentionStateSpec, MambaStateSpec, StateAddress, StatePart, StateSpec } from "../device/state.ts";
import { stateBytes } from "../device/state.ts";
import { decodeFloats, encodeFloats, type FloatDtype } from "../dtype.ts";

export interface MambaLayer {
  readonly spec: MambaStateSpec;
  /** [dInner, dConv - 1], oldest input first. */
  conv(slot: number): Float32Array;
  /** [dInner, dState] */
  h(slot: number): Float32Array;
}

export interface PagedKv {
  readonly spec: AttentionStateSpec;
  /** What values are rounded to; they are stored as f32. */
  readonly dtype: FloatDtype;
  /** The page that holds a position, and where in it `[nKvHeads, pageTokens, headDim]` a head's vector starts. */
  k(pages: ArrayLike<number>, position: number): Float32Array;
  v(pages: ArrayLike<number>, position: number): Float32Array;
  at(head: number, position: number): number;
}

export class ReferenceStates implements DriverStates {
  nSlots = 0;
  nPages = 0;
  #arrays = new Map<string, Float32Array>();

  constructor(
    readonly spec: StateSpec,
    readonly inOrder: <T>(work: () => Promise<T>) => Promise<T>,
  ) {}

  reserve(nSlots: number, nPages: number): void {
    this.nSlots = Math.max(this.nSlots, nSlots);
    this.nPages = Math.max(this.nPages, nPages);
  }

  shrink(nSlots: number, nPages: number): void {
    this.nSlots = Math.min(this.nSlots, nSlots);
    this.nPages = Math.min(this.nPages, nPages);
    for (const key of this.#arrays.keys()) {
      const [kind, , index] = key.split(".");
      if (Number(index) >= (kind === "conv" || kind === "h" ? nSlots : nPages)) this.#arrays.delete(key);
    }
  }

  release(): void {
    this.#arrays.clear();
    this.nSlots = 0;
    this.nPages = 0;
  }

  get sizeBytes(): number {
    const { slot, page } = stateBytes({ ...this.spec, kvDtype: "f32" });
    return this.nSlots * slot + this.nPages * page;
  }

  #array(kind: "conv" | "h" | "k" | "v", layer: number, index: number, length: number): Float32Array {
    const key = `${kind}.${layer}.${index}`;
    let array = this.#arrays.get(key);
    if (!array) {
      array = new Float32Array(length);
      this.#arrays.set(key, array);
    }
    return array;
  }

  mamba(layer: number): MambaLayer {
    const spec = this.spec.layers[layer] as MambaStateSpec;
    return {
      spec,
      conv: (slot) => this.#array("conv", layer, slot, spec.dInner * (spec.dConv - 1)),
      h: (slot) => this.#array("h", layer, slot, spec.dInner * spec.dState),
    };
  }

  kv(layer: number): PagedKv {
    const spec = this.spec.layers[layer] as AttentionStateSpec;
    const { pageTokens } = this.spec;
    const length = spec.nKvHeads * pageTokens * spec.headDim;
    const page = (kind: "k" | "v") => (pages: ArrayLike<number>, position: number) =>
      this.#array(kind, layer, pages[Math.floor(position / pageTokens)], length);
    return {
      spec,
      dtype: this.spec.kvDtype,
      k: page("k"),
      v: page("v"),
      at: (head, position) => (head * pageTokens + (position % pageTokens)) * spec.headDim,
    };
  }

  copy({ slots, pages }: PackedCopies): void {
    for (const [layer, { kind }] of this.spec.layers.entries()) {
      // Position 0 of a table of one page is the page itself.
      const { conv, h } = this.mamba(layer);
      const { k, v } = this.kv(layer);
      const [pairs, parts] = kind === "mamba" ? [slots, [conv, h]] : [pages, [k, v].map((part) => (page: number) => part([page], 0))];
      for (let i = 0; i < pairs.length; i += 2) for (const part of parts) part(pairs[i + 1]).set(part(pairs[i]));
    }
  }

  readPart({ slot, pages, seen }: StateAddress, { layer, name, dtype }: Omit<StatePart, "bytes">): Promise<Uint8Array> {
    return this.inOrder(async () => {
      if (name === "conv" || name === "h") {
        return encodeFloats(this.mamba(layer)[name](slot), dtype);
      }
      const kv = this.kv(layer);
      const { spec } = kv;
      const out = new Float32Array(spec.nKvHeads * seen * spec.headDim);
      forEachVector(spec, seen, (head, t, at) => {
        const from = kv.at(head, t);
        out.set(kv[name](pages, t).subarray(from, from + spec.headDim), at);
      });
      return encodeFloats(out, dtype);
    });
  }

  writePart({ slot, pages, seen }: StateAddress, { layer, name, dtype, bytes }: StatePart): Promise<void> {
    return this.inOrder(async () => {
      const values = decodeFloats(bytes, dtype);
      if (name === "conv" || name === "h") {
        this.mamba(layer)[name](slot).set(values);
        return;
      }
      const kv = this.kv(layer);
      const { spec } = kv;
      forEachVector(spec, seen, (head, t, at) => kv[name](pages, t).set(values.subarray(at, at + spec.headDim), kv.at(head, t)));
    });
  }
}

/** Calls back for each vector of a dense `[nKvHeads, seen, headDim]`. */
function forEachVector({ nKvHeads, headDim }: AttentionStateSpec, seen: number, use: (head: number, t: number, at: number) => void): void {
  for (let head = 0; head < nKvHeads; head++) {
    for (let t = 0; t < seen; t++) use(head, t, (head * seen + t) * headDim);
  }
}
