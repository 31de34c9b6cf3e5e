// Slots and pages of the reference backend: one array per layer and slot or page, made when first asked for.

import { Tensor as HostTensor } from "onnxruntime-common";
import { DtypeError, ShapeError } from "../errors.ts";
import {
  type AttentionStateSpec,
  type HostLayerState,
  type HostState,
  type MambaStateSpec,
  type StateAddress,
  type StateSpec,
  type StateStore,
  stateBytes,
} from "../state.ts";

export interface MambaLayer {
  readonly spec: MambaStateSpec;
  /** [dInner, dConv - 1], oldest input first. */
  conv(slot: number): Float32Array;
  /** [dInner, dState] */
  h(slot: number): Float32Array;
}

export interface PagedKv {
  readonly spec: AttentionStateSpec;
  /** The page that holds a position, and where in it `[nKvHeads, pageTokens, headDim]` a head's vector starts. */
  k(pages: readonly number[], position: number): Float32Array;
  v(pages: readonly number[], position: number): Float32Array;
  at(head: number, position: number): number;
}

export class ReferenceStates implements StateStore {
  nSlots = 0;
  nPages = 0;
  #arrays = new Map<string, Float32Array>();

  constructor(readonly spec: StateSpec) {
    if (spec.kvDtype !== "f32")
      throw new DtypeError(`createStates: kvDtype: expected f32 (all the reference stores), found ${spec.kvDtype}`);
    if (!Number.isSafeInteger(spec.pageTokens) || spec.pageTokens < 1) {
      throw new ShapeError(`createStates: pageTokens: expected at least 1, found ${spec.pageTokens}`);
    }
  }

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

  dispose(): void {
    this.#arrays.clear();
    this.nSlots = 0;
    this.nPages = 0;
  }

  get bytes(): number {
    const { slot, page } = stateBytes(this.spec, 4);
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
    const page = (kind: "k" | "v") => (pages: readonly number[], position: number) =>
      this.#array(kind, layer, pages[Math.floor(position / pageTokens)], length);
    return { spec, k: page("k"), v: page("v"), at: (head, position) => (head * pageTokens + (position % pageTokens)) * spec.headDim };
  }

  copySlot(from: number, to: number): void {
    for (const [layer, spec] of this.spec.layers.entries()) {
      if (spec.kind !== "mamba") continue;
      const { conv, h } = this.mamba(layer);
      conv(to).set(conv(from));
      h(to).set(h(from));
    }
  }

  copyPage(from: number, to: number): void {
    for (const [layer, spec] of this.spec.layers.entries()) {
      if (spec.kind !== "attention") continue;
      const { k, v } = this.kv(layer);
      // Position 0 of a one-page table is the page itself.
      k([to], 0).set(k([from], 0));
      v([to], 0).set(v([from], 0));
    }
  }

  read({ slot, pages, seen }: StateAddress): HostState {
    const layers = this.spec.layers.map((spec, layer): HostLayerState => {
      if (spec.kind === "mamba") {
        const { conv, h } = this.mamba(layer);
        const fresh = seen === 0;
        return {
          kind: "mamba",
          conv: new HostTensor("float32", fresh ? new Float32Array(conv(slot).length) : conv(slot).slice(), [spec.dInner, spec.dConv - 1]),
          h: new HostTensor("float32", fresh ? new Float32Array(h(slot).length) : h(slot).slice(), [spec.dInner, spec.dState]),
        };
      }
      const kv = this.kv(layer);
      const gather = (page: PagedKv["k"]) => {
        const out = new Float32Array(spec.nKvHeads * seen * spec.headDim);
        forEachVector(spec, seen, (head, t, at) => {
          const from = kv.at(head, t);
          out.set(page(pages, t).subarray(from, from + spec.headDim), at);
        });
        return new HostTensor("float32", out, [spec.nKvHeads, seen, spec.headDim]);
      };
      return { kind: "attention", k: gather(kv.k), v: gather(kv.v) };
    });
    return { seen, layers };
  }

  write({ slot, pages, seen }: StateAddress, state: HostState): void {
    for (const [layer, spec] of this.spec.layers.entries()) {
      const from = state.layers[layer];
      if (spec.kind === "mamba" && from.kind === "mamba") {
        this.mamba(layer)
          .conv(slot)
          .set(from.conv.data as Float32Array);
        this.mamba(layer)
          .h(slot)
          .set(from.h.data as Float32Array);
      } else if (spec.kind === "attention" && from.kind === "attention") {
        const kv = this.kv(layer);
        for (const name of ["k", "v"] as const) {
          const data = from[name].data as Float32Array;
          forEachVector(spec, seen, (head, t, at) => kv[name](pages, t).set(data.subarray(at, at + spec.headDim), kv.at(head, t)));
        }
      }
    }
  }
}

/** Calls back for each vector of a dense `[nKvHeads, seen, headDim]`. */
function forEachVector({ nKvHeads, headDim }: AttentionStateSpec, seen: number, use: (head: number, t: number, at: number) => void): void {
  for (let head = 0; head < nKvHeads; head++) {
    for (let t = 0; t < seen; t++) use(head, t, (head * seen + t) * headDim);
  }
}
