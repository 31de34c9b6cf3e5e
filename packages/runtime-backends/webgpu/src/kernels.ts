// The kernels: their texts, put together with how weights and states are read, and compiled.

import { BackendError, type FloatDtype, stepParts, storedDtypes, type WeightDtype } from "@jamba/core";
import append from "../kernels/append.wgsl";
import asked from "../kernels/asked.wgsl";
import attention from "../kernels/attention.wgsl";
import attentionMerge from "../kernels/attention-merge.wgsl";
import causalConv from "../kernels/causal-conv.wgsl";
import copyUnits from "../kernels/copy-units.wgsl";
import embed from "../kernels/embed.wgsl";
import expertTiles from "../kernels/expert-tiles.wgsl";
import expertsDown from "../kernels/experts-down.wgsl";
import expertsDownPicks from "../kernels/experts-down-picks.wgsl";
import expertsSum from "../kernels/experts-sum.wgsl";
import gateUp from "../kernels/gate-up.wgsl";
import gateUpFew from "../kernels/gate-up-few.wgsl";
import gateUpPicks from "../kernels/gate-up-picks.wgsl";
import gatherRows from "../kernels/gather-rows.wgsl";
import input from "../kernels/input.wgsl";
import inputBuffer from "../kernels/input-buffer.wgsl";
import kvBf16 from "../kernels/kv/bf16.wgsl";
import kvF16 from "../kernels/kv/f16.wgsl";
import kvF32 from "../kernels/kv/f32.wgsl";
import packKvBf16 from "../kernels/kv/pack-bf16.wgsl";
import packKvF16 from "../kernels/kv/pack-f16.wgsl";
import packKvF32 from "../kernels/kv/pack-f32.wgsl";
import matmul from "../kernels/matmul.wgsl";
import matmulBytes from "../kernels/matmul-bytes.wgsl";
import matvec from "../kernels/matvec.wgsl";
import matvecFew from "../kernels/matvec-few.wgsl";
import matvecThree from "../kernels/matvec-three.wgsl";
import matvecThreeFew from "../kernels/matvec-three-few.wgsl";
import packHalves from "../kernels/pack/halves.wgsl";
import packPairs from "../kernels/pack/pairs.wgsl";
import packQ4 from "../kernels/pack/q4.wgsl";
import packQ4_1 from "../kernels/pack/q4_1.wgsl";
import packQ4_k from "../kernels/pack/q4_k.wgsl";
import packQ8 from "../kernels/pack/q8.wgsl";
import raw from "../kernels/pack/raw.wgsl";
import packRows from "../kernels/pack/rows.wgsl";
import few from "../kernels/parts/few.wgsl";
import fewNorm from "../kernels/parts/few-norm.wgsl";
import gateUpRows from "../kernels/parts/gate-up-rows.wgsl";
import normOnTheWay from "../kernels/parts/norm.wgsl";
import picks from "../kernels/parts/picks.wgsl";
import sweep from "../kernels/parts/sweep.wgsl";
import three from "../kernels/parts/three.wgsl";
import tile from "../kernels/parts/tile.wgsl";
import prelude from "../kernels/prelude.wgsl";
import probeHalves from "../kernels/probe-halves.wgsl";
import quantise from "../kernels/quantise.wgsl";
import read from "../kernels/read.wgsl";
import rmsNorm from "../kernels/rms-norm.wgsl";
import route from "../kernels/route.wgsl";
import selectiveScan from "../kernels/selective-scan.wgsl";
import swiglu from "../kernels/swiglu.wgsl";
import top from "../kernels/top.wgsl";
import weightBf16 from "../kernels/weights/bf16.wgsl";
import weightF16 from "../kernels/weights/f16.wgsl";
import weightF32 from "../kernels/weights/f32.wgsl";
import weightQ4 from "../kernels/weights/q4.wgsl";
import weightQ4_1 from "../kernels/weights/q4_1.wgsl";
import weightQ4_k from "../kernels/weights/q4_k.wgsl";
import weightQ8 from "../kernels/weights/q8.wgsl";
import weightQuads from "../kernels/weights/quads.wgsl";
import { computeStage, type GpuDevice, type GpuPipeline } from "./gpu.ts";
import { scoped } from "./scoped.ts";

const texts = {
  append,
  asked,
  attention,
  "attention-merge": attentionMerge,
  "causal-conv": causalConv,
  "copy-units": copyUnits,
  embed,
  "expert-tiles": expertTiles,
  "experts-down": expertsDown + sweep,
  "experts-down-picks": expertsDownPicks + few + picks,
  "experts-sum": expertsSum,
  "gate-up": gateUp + gateUpRows + sweep + normOnTheWay,
  "gate-up-few": gateUpFew + gateUpRows + few + fewNorm,
  "gate-up-picks": gateUpPicks + gateUpRows + few + picks,
  "gather-rows": gatherRows,
  input,
  "input-buffer": inputBuffer,
  matmul: matmul + tile,
  "matmul-bytes": matmulBytes + tile,
  matvec: matvec + sweep + normOnTheWay,
  "matvec-few": matvecFew + few + fewNorm,
  "matvec-three": matvecThree + three + sweep + normOnTheWay,
  "matvec-three-few": matvecThreeFew + three + few + fewNorm,
  "pack-halves": packHalves + packRows,
  "pack-q4": packQ4 + packRows + packPairs,
  "pack-q4_1": packQ4_1 + packRows,
  "pack-q4_k": packQ4_k + packRows,
  "pack-q8": packQ8 + packRows + packPairs,
  "probe-halves": probeHalves,
  quantise,
  read,
  "rms-norm": rmsNorm,
  route,
  "selective-scan": selectiveScan,
  swiglu,
  top,
};
const weightTexts: Readonly<Record<WeightDtype, string>> = {
  f32: weightF32,
  bf16: weightBf16,
  f16: weightF16,
  q8: weightQ8,
  q4: weightQ4,
  q4_1: weightQ4_1,
  q4_k: weightQ4_k,
};
const kvTexts: Readonly<Record<FloatDtype, string>> = { f32: kvF32, bf16: kvBf16, f16: kvF16 };
const packKvTexts: Readonly<Record<FloatDtype, string>> = { f32: packKvF32, bf16: packKvBf16, f16: packKvF16 };

export type KernelName = keyof typeof texts;

/** A kernel and what it is compiled for. */
export interface KernelKey {
  readonly name: KernelName;
  /** Of the weights that it reads, by the name of their binding. */
  readonly weights?: Readonly<Record<string, WeightDtype>>;
  /** Of keys and values. */
  readonly kv?: FloatDtype;
  /** Its `override`s. */
  readonly constants?: Readonly<Record<string, number>>;
}

export interface Kernel {
  readonly name: KernelName;
  readonly pipeline: GpuPipeline;
  readonly layout: object;
  readonly bindings: readonly Binding[];
  readonly params: readonly Field[];
}

export interface Binding {
  readonly at: number;
  readonly name: string;
  readonly access: "uniform" | "storage" | "read-only-storage";
}

interface Field {
  readonly name: string;
  readonly type: "u32" | "f32";
}

/** Where the parts of a step begin, by their names in core; of tensors there are several. */
const stepText = [
  ...stepParts.map((name, i) =>
    name === "tensors" ? `fn tensors(i: u32) -> u32 { return u32(step[${i}u + i]); }` : `fn ${name}() -> u32 { return u32(step[${i}]); }`,
  ),
  "/** Where the first units of the first and the last segment of pages stand that the step uses: behind all parts. */",
  "fn firstSegment() -> u32 { return u32(step[u32(step[0]) - 1u]); }",
  "fn lastSegment() -> u32 { return firstSegment() + 1u; }",
].join("\n");

/** What `stored` is, by its name in core. */
const rawText = [...storedDtypes.map((name, i) => `const ${name.toUpperCase()} = ${i}u;`), raw].join("\n");

/** The whole text of a kernel. A weight named `gate` is read by `gateVector` and its like. */
export function textOf({ name, weights = {}, kv }: Omit<KernelKey, "constants">): string {
  const text = texts[name];
  const readers = Object.entries(weights).map(([binding, dtype]) => (weightTexts[dtype] + weightQuads).replaceAll(/\bweight/g, binding));
  const tables = [/> step: /.test(text) ? stepText : "", /rawFloat/.test(text) ? rawText : ""];
  return [text, prelude, ...tables, ...readers, kv ? (name === "append" ? packKvTexts : kvTexts)[kv] : ""].join("\n");
}

/** The bindings of a text, in order. */
function bindingsOf(text: string): Binding[] {
  return [...text.matchAll(/@binding\((\d+)\) var<([\w, ]+)> (\w+)/g)].map(([, at, access, name]) => ({
    at: Number(at),
    name,
    access: access === "uniform" ? "uniform" : access === "storage, read" ? "read-only-storage" : "storage",
  }));
}

/** The fields of `struct Params`, which are words all. */
function paramsOf(text: string): Field[] {
  const body = /struct Params \{([^}]*)\}/.exec(text)![1].replaceAll(/\/\/.*/g, "");
  return [...body.matchAll(/(\w+): (u32|f32)/g)].map(([, name, type]) => ({ name, type: type as Field["type"] }));
}

/** What is compiled on devices: models that share one share it too. */
const compiledOn = new WeakMap<GpuDevice, Map<string, Promise<Kernel>>>();

/** Compiled kernels of one device, each once. */
export class Kernels {
  readonly #compiled: Map<string, Promise<Kernel>>;

  /** @param keepsHalves whether unpack2x16float may be used for all of them */
  constructor(
    readonly gpu: GpuDevice,
    readonly keepsHalves = false,
  ) {
    this.#compiled = compiledOn.get(gpu) ?? new Map();
    compiledOn.set(gpu, this.#compiled);
  }

  /** @throws BackendError that names a kernel which does not compile */
  get(key: KernelKey): Promise<Kernel> {
    const id = JSON.stringify([key.name, key.weights, key.kv, key.constants, this.keepsHalves]);
    const known = this.#compiled.get(id);
    if (known) return known;
    const kernel = this.#compile(key);
    this.#compiled.set(id, kernel);
    kernel.catch(() => this.#compiled.delete(id)); // who asks next may have more luck
    return kernel;
  }

  async #compile(key: KernelKey): Promise<Kernel> {
    const { name } = key;
    const constants = { ...key.constants, keepsHalves: +this.keepsHalves };
    const code = textOf(key);
    const [bindings, params] = [bindingsOf(code), paramsOf(code)];
    const { value, found } = scoped(this.gpu, () => {
      const entries = bindings.map(({ at, access }) => ({ binding: at, visibility: computeStage, buffer: { type: access } }));
      const layout = this.gpu.createBindGroupLayout({ label: name, entries });
      const module = this.gpu.createShaderModule({ label: name, code });
      const built = this.gpu.createComputePipelineAsync({
        label: name,
        layout: this.gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
        compute: { module, entryPoint: "main", constants },
      });
      return { layout, built };
    });
    try {
      const pipeline = await value.built;
      const error = await found;
      if (error) throw error;
      return { name, pipeline, layout: value.layout, bindings, params };
    } catch (cause) {
      const { message } = (await found) ?? (cause as Error);
      throw new BackendError(`webgpu: ${name}: expected a kernel that compiles, found: ${message}`, { cause });
    }
  }
}
