// The weights of a Jamba, each with one name and one shape. Spellings, fusions, stacks and signs of checkpoints end here.

import { LoadError, type WeightSource } from "@jamba/core";
import type { JambaConfig } from "./config.ts";
import { expectPlainTensors } from "./quantised.ts";
import { isBuffer, plainNames, spellingsOf } from "./tensor-names.ts";
import { concatRows, mapValues, type RowRange, reshape, whenRead } from "./weight-sources.ts";

/**
 * What a weight is for, as far as its dtype goes. "exact": norms, biases, convolution, A, D and the router, small and sensitive.
 * "fine": the embedding, the head, xProj and dtProj, where few bits hurt most for the fewest bytes saved (what xProj gives
 * goes through norms, so its errors grow).
 */
export type TensorRole = "exact" | "fine" | "matrix" | "experts";

/** What a weight belongs to, in pictures of memory. */
export type TensorPart = "embedding" | "head" | "mamba" | "attention" | "mlp" | "experts";

export interface ModelTensor {
  /** transformers' name; experts are stacked and have the name without their number, A is not a logarithm. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly role: TensorRole;
  readonly part: TensorPart;
}

/** Every weight of a model, in the order of its layers. */
export function modelTensors(config: JambaConfig): ModelTensor[] {
  const { dModel, dFf, dInner, dState, dConv, dtRank, nHeads, nKvHeads, headDim, nExperts, vocabSize } = config;
  const tensors: ModelTensor[] = [];
  const add = (part: TensorPart, role: TensorRole, name: string, ...shape: number[]) => tensors.push({ name, shape, role, part });
  add("embedding", "fine", "model.embed_tokens.weight", vocabSize, dModel);
  for (const [layer, kind] of config.layerKinds.entries()) {
    const at = `model.layers.${layer}`;
    add(kind, "exact", `${at}.input_layernorm.weight`, dModel);
    if (kind === "mamba") {
      add(kind, "matrix", `${at}.mamba.in_proj.weight`, 2 * dInner, dModel);
      if (config.projBias) add(kind, "exact", `${at}.mamba.in_proj.bias`, 2 * dInner);
      add(kind, "exact", `${at}.mamba.conv1d.weight`, dInner, dConv);
      if (config.convBias) add(kind, "exact", `${at}.mamba.conv1d.bias`, dInner);
      add(kind, "fine", `${at}.mamba.x_proj.weight`, dtRank + 2 * dState, dInner);
      add(kind, "fine", `${at}.mamba.dt_proj.weight`, dInner, dtRank);
      add(kind, "exact", `${at}.mamba.dt_proj.bias`, dInner);
      add(kind, "exact", `${at}.mamba.A`, dInner, dState);
      add(kind, "exact", `${at}.mamba.D`, dInner);
      add(kind, "exact", `${at}.mamba.dt_layernorm.weight`, dtRank);
      add(kind, "exact", `${at}.mamba.b_layernorm.weight`, dState);
      add(kind, "exact", `${at}.mamba.c_layernorm.weight`, dState);
      add(kind, "matrix", `${at}.mamba.out_proj.weight`, dModel, dInner);
      if (config.projBias) add(kind, "exact", `${at}.mamba.out_proj.bias`, dModel);
    } else {
      add(kind, "matrix", `${at}.self_attn.q_proj.weight`, nHeads * headDim, dModel);
      add(kind, "matrix", `${at}.self_attn.k_proj.weight`, nKvHeads * headDim, dModel);
      add(kind, "matrix", `${at}.self_attn.v_proj.weight`, nKvHeads * headDim, dModel);
      add(kind, "matrix", `${at}.self_attn.o_proj.weight`, dModel, nHeads * headDim);
    }
    const moe = config.ffnKinds[layer] === "moe";
    const part = moe ? "experts" : "mlp";
    add(part, "exact", `${at}.pre_ff_layernorm.weight`, dModel);
    if (moe) {
      add(part, "exact", `${at}.feed_forward.router.weight`, nExperts, dModel);
      add(part, "experts", `${at}.feed_forward.experts.gate_proj`, nExperts, dFf, dModel);
      add(part, "experts", `${at}.feed_forward.experts.up_proj`, nExperts, dFf, dModel);
      add(part, "experts", `${at}.feed_forward.experts.down_proj`, nExperts, dModel, dFf);
    } else {
      add(part, "matrix", `${at}.feed_forward.gate_proj.weight`, dFf, dModel);
      add(part, "matrix", `${at}.feed_forward.up_proj.weight`, dFf, dModel);
      add(part, "matrix", `${at}.feed_forward.down_proj.weight`, dModel, dFf);
    }
  }
  add("head", "exact", "model.final_layernorm.weight", dModel);
  if (!config.tiedEmbeddings) add("head", "fine", "lm_head.weight", vocabSize, dModel);
  return tensors;
}

/** The part of a checkpoint that weights come from. */
export interface TensorFile {
  readonly name: string;
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly file: string; readonly dtype?: string }>;
  weight(name: string): WeightSource;
}

/**
 * Where the numbers of each weight are: a source for every tensor of `modelTensors`, under its name. Nothing is read.
 *
 * @param onRead called with every piece that was read
 * @throws LoadError naming tensor, expected and found shape, and file; also for a tensor of the model that the config does not ask for;
 * JambaError UNSUPPORTED for weights that another program quantised, and for an adapter's
 */
export function modelSources(
  file: TensorFile,
  config: JambaConfig,
  onRead?: (sizeBytes: number, file: string) => void,
): ReadonlyMap<string, WeightSource> {
  const reader = tensorReader(file, config, onRead);
  const sources = new Map<string, WeightSource>();
  for (const tensor of modelTensors(config)) sources.set(tensor.name, { ...sourceOf(tensor, config, reader), name: tensor.name });
  if (config.tiedEmbeddings) reader.ignore("lm_head.weight");
  reader.expectNoneLeft();
  return sources;
}

type Reader = ReturnType<typeof tensorReader>;

function sourceOf({ name, shape, role }: ModelTensor, config: JambaConfig, reader: Reader): WeightSource {
  const { has, take } = reader;
  if (role === "experts" && !has(name)) return expertsOf(name, shape, config, reader);
  if (name.endsWith(".conv1d.weight")) return reshape(take(name, shape, [shape[0], 1, shape[1]]), shape);
  if (name.endsWith(".mamba.A") && !has(name)) return mapValues(take(`${name}_log`, shape), (v) => -Math.exp(v));
  return take(name, shape);
}

/** Experts as transformers 5 fuses them (gate above up, all experts in one tensor), or one tensor each. */
function expertsOf(name: string, shape: readonly number[], { nExperts, dFf, dModel }: JambaConfig, { has, take }: Reader): WeightSource {
  const [, at, proj] = /^(.*\.experts)\.(\w+)$/.exec(name)!;
  const rows = shape[1];
  const each = Array.from({ length: nExperts }, (_, expert) => expert);
  const which = ["gate_proj", "up_proj"].indexOf(proj);
  if (which >= 0 && has(`${at}.gate_up_proj`)) {
    const source = take(`${at}.gate_up_proj`, [nExperts, 2 * dFf, dModel]);
    return concatRows(
      name,
      shape,
      each.map((expert): RowRange => ({ source, from: (2 * expert + which) * dFf, to: (2 * expert + which + 1) * dFf })),
    );
  }
  return concatRows(
    name,
    shape,
    each.map((expert): RowRange => ({ source: take(`${at}.${expert}.${proj}.weight`, shape.slice(1)), from: 0, to: rows })),
  );
}

function tensorReader(file: TensorFile, config: JambaConfig, onRead?: (sizeBytes: number, file: string) => void) {
  expectPlainTensors(file.tensors, file.name);
  const stored = plainNames(file);
  const left = new Set(stored.keys());
  const find = (name: string) => spellingsOf(name).find((spelling) => stored.has(spelling));
  const take = (name: string, ...shapes: (readonly number[])[]): WeightSource => {
    const plain = find(name);
    if (!plain) throw missing(file, name, shapes[0]);
    const found = stored.get(plain)!;
    const info = file.tensors.get(found)!;
    if (!shapes.some((shape) => info.shape.join() === shape.join())) {
      throw new LoadError(
        `${found}: expected [${shapes.at(-1)!.join(", ")}], found [${info.shape.join(", ")}] in ${info.file}. ${hintFor(name, config)}; is the file from another checkpoint?`,
      );
    }
    left.delete(plain);
    const source = file.weight(found);
    return onRead ? whenRead(source, (sizeBytes) => onRead(sizeBytes, info.file)) : source;
  };
  return {
    has: (name: string) => find(name) !== undefined,
    take,
    ignore: (name: string) => left.delete(name),
    /** A tensor of the model that no layer asked for means that config.json and weights disagree. */
    expectNoneLeft() {
      const plain = [...left].find((name) => (name.startsWith("model.") && !isBuffer(name)) || name === "lm_head.weight");
      if (!plain) return;
      const stray = stored.get(plain)!;
      throw new LoadError(
        `${stray}: expected only tensors that config.json asks for, found this one in ${file.tensors.get(stray)!.file}. config.json says ${config.nLayers} layers, attention at ${indices(config.layerKinds, "attention")}, experts at ${indices(config.ffnKinds, "moe")}; is it from another checkpoint?`,
      );
    },
  };
}

function missing(file: TensorFile, name: string, shape: readonly number[]): LoadError {
  const names = [...file.tensors.keys()];
  const near = names.filter((n) => n.startsWith(name.split(".").slice(0, 4).join("."))).slice(0, 4);
  const hint =
    name === "lm_head.weight"
      ? "config.json says tie_word_embeddings = false; set it to true if the embeddings serve as head, as nothing gives logits in a base model that was saved alone (JambaModel) or in a classifier"
      : `nearby: ${near.join(", ") || names.slice(0, 4).join(", ") || "no tensors at all"}`;
  return new LoadError(`${name}: expected [${shape.join(", ")}], found no such tensor in ${file.name}; ${hint}`);
}

function hintFor(name: string, c: JambaConfig): string {
  if (name.includes("self_attn")) return `config.json says nHeads = ${c.nHeads}, nKvHeads = ${c.nKvHeads}, headDim = ${c.headDim}`;
  if (name.includes("mamba"))
    return `config.json says dInner = ${c.dInner}, dState = ${c.dState}, dConv = ${c.dConv}, dtRank = ${c.dtRank}`;
  if (name.includes("feed_forward")) return `config.json says dModel = ${c.dModel}, dFf = ${c.dFf}, nExperts = ${c.nExperts}`;
  return `config.json says vocabSize = ${c.vocabSize}, dModel = ${c.dModel}`;
}

function indices<T>(kinds: readonly T[], kind: T): string {
  const found = kinds.flatMap((k, i) => (k === kind ? [i] : []));
  return found.length > 0 ? found.join(", ") : "none";
}
