// From a checkpoint's tensors to the model's weights. Spellings, fusions and ties of checkpoints end here.

import type { AttentionWeights } from "@jamba/attention";
import { type Backend, DtypeError, LoadError, type Weight, type WeightDtype, type WeightSource } from "@jamba/core";
import type { MlpWeights, MoeWeights } from "@jamba/moe";
import type { MambaWeights } from "@jamba/ssm";
import type { JambaConfig } from "./config.ts";
import { deviceText } from "./open-backend.ts";
import { concatRows, mapValues, reshape, whenRead } from "./weight-sources.ts";

export interface LayerWeights {
  readonly mixerNorm: Weight;
  readonly mixer: ({ readonly kind: "mamba" } & MambaWeights) | ({ readonly kind: "attention" } & AttentionWeights);
  readonly ffnNorm: Weight;
  readonly ffn: ({ readonly kind: "mlp" } & MlpWeights) | ({ readonly kind: "moe" } & MoeWeights);
}

export interface ModelWeights {
  readonly embedding: Weight;
  readonly layers: readonly LayerWeights[];
  readonly finalNorm: Weight;
  readonly lmHead: Weight;
}

/** The part of a checkpoint that weights come from. */
export interface TensorFile {
  readonly name: string;
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly file: string }>;
  weight(name: string): WeightSource;
}

/** "auto": matrices as stored; "experts-int8": the same, but experts as q8. Norms, biases, convolution, A, D and the router are f32 always. */
export type LoadDtype = "auto" | WeightDtype | "experts-int8";

/** Whoever holds the weights: a backend, or what stands in for one. */
export type WeightOpener = Pick<Backend, "device" | "openWeight">;

export interface LoadWeightsOptions {
  readonly dtype: LoadDtype;
  readonly signal?: AbortSignal;
  /** Called with every weight that was opened, so that it can be let go of. */
  readonly keep?: (weight: Weight & Disposable) => void;
  /** Called with every piece that was read. */
  readonly onRead?: (sizeBytes: number, file: string) => void;
}

/**
 * Opens every weight, one tensor at a time.
 * @throws LoadError naming tensor, expected and found shape, and file
 */
export async function loadWeights(
  file: TensorFile,
  config: JambaConfig,
  opener: WeightOpener,
  { dtype, signal, keep, onRead }: LoadWeightsOptions,
): Promise<ModelWeights> {
  const { dModel, vocabSize } = config;
  expectDtype(dtype, opener);
  const tensors = tensorReader(file, config, onRead);
  const open = async (source: WeightSource, role: Role) => {
    signal?.throwIfAborted();
    const weight = await opener.openWeight(source, dtypeFor(role, dtype, source, opener), signal);
    keep?.(weight);
    return weight;
  };
  const matrix = (name: string, shape: number[], role: Role = "matrix") => open(tensors.take(name, shape), role);
  const exact = (name: string, shape: number[]) => open(tensors.take(name, shape), "exact");

  const embedding = await matrix("model.embed_tokens.weight", [vocabSize, dModel], "fine");
  const layers: LayerWeights[] = [];
  for (let layer = 0; layer < config.nLayers; layer++) {
    layers.push(await loadLayer(layer, config, { tensors, open, matrix, exact }));
  }
  const finalNorm = await exact("model.final_layernorm.weight", [dModel]);
  if (config.tiedEmbeddings) tensors.ignore("lm_head.weight");
  const lmHead = config.tiedEmbeddings ? embedding : await matrix("lm_head.weight", [vocabSize, dModel], "fine");
  tensors.expectNoneLeft();
  return { embedding, layers, finalNorm, lmHead };
}

/**
 * What a weight is for, as far as its dtype goes. "fine": blocks of 4 bits in the embedding, the head, xProj and dtProj
 * hurt most for the fewest bytes (what xProj gives goes through norms, so its errors grow), so q4 holds these as q8.
 */
type Role = "exact" | "fine" | "matrix" | "experts";

function dtypeFor(role: Role, asked: LoadDtype, source: WeightSource, opener: WeightOpener): WeightDtype {
  if (role === "exact") return "f32";
  if (asked === "experts-int8") return role === "experts" ? "q8" : storable(opener, source);
  if (asked === "q4" && role === "fine") return "q8";
  return asked === "auto" ? storable(opener, source) : asked;
}

/** @throws DtypeError when the device lacks what `asked` needs */
function expectDtype(asked: LoadDtype, { device }: WeightOpener): void {
  const needed: readonly WeightDtype[] =
    asked === "auto" ? [] : asked === "experts-int8" ? ["q8"] : asked === "q4" ? ["q4", "q8"] : [asked];
  if (needed.every((dtype) => device.weightDtypes.includes(dtype))) return;
  throw new DtypeError(`dtype: expected auto or one of ${device.weightDtypes.join(", ")}, found ${asked} on ${deviceText(device)}`);
}

interface Opener {
  tensors: ReturnType<typeof tensorReader>;
  open(source: WeightSource, role: Role): Promise<Weight>;
  matrix(name: string, shape: number[], role?: Role): Promise<Weight>;
  exact(name: string, shape: number[]): Promise<Weight>;
}

async function loadLayer(layer: number, config: JambaConfig, opener: Opener): Promise<LayerWeights> {
  const { exact } = opener;
  const { dModel, layerKinds, ffnKinds } = config;
  const at = `model.layers.${layer}`;
  const mixerNorm = await exact(`${at}.input_layernorm.weight`, [dModel]);
  const mixer =
    layerKinds[layer] === "mamba"
      ? { kind: "mamba" as const, ...(await loadMamba(`${at}.mamba`, config, opener)) }
      : { kind: "attention" as const, ...(await loadAttention(`${at}.self_attn`, config, opener)) };
  const ffnNorm = await exact(`${at}.pre_ff_layernorm.weight`, [dModel]);
  const ffn =
    ffnKinds[layer] === "moe"
      ? { kind: "moe" as const, ...(await loadMoe(`${at}.feed_forward`, config, opener)) }
      : { kind: "mlp" as const, ...(await loadMlp(`${at}.feed_forward`, config, opener)) };
  return { mixerNorm, mixer, ffnNorm, ffn };
}

async function loadMamba(at: string, config: JambaConfig, { tensors, open, matrix, exact }: Opener): Promise<MambaWeights> {
  const { dModel, dInner, dState, dConv, dtRank, convBias, projBias } = config;
  return {
    inProj: await matrix(`${at}.in_proj.weight`, [2 * dInner, dModel]),
    inProjBias: projBias ? await exact(`${at}.in_proj.bias`, [2 * dInner]) : undefined,
    convWeight: await open(reshape(tensors.take(`${at}.conv1d.weight`, [dInner, 1, dConv]), [dInner, dConv]), "exact"),
    convBias: convBias ? await exact(`${at}.conv1d.bias`, [dInner]) : undefined,
    xProj: await matrix(`${at}.x_proj.weight`, [dtRank + 2 * dState, dInner], "fine"),
    dtProj: await matrix(`${at}.dt_proj.weight`, [dInner, dtRank], "fine"),
    dtBias: await exact(`${at}.dt_proj.bias`, [dInner]),
    A: await open(
      mapValues(tensors.take(`${at}.A_log`, [dInner, dState]), (v) => -Math.exp(v)),
      "exact",
    ),
    D: await exact(`${at}.D`, [dInner]),
    dtNorm: await exact(`${at}.dt_layernorm.weight`, [dtRank]),
    bNorm: await exact(`${at}.b_layernorm.weight`, [dState]),
    cNorm: await exact(`${at}.c_layernorm.weight`, [dState]),
    outProj: await matrix(`${at}.out_proj.weight`, [dModel, dInner]),
    outProjBias: projBias ? await exact(`${at}.out_proj.bias`, [dModel]) : undefined,
  };
}

async function loadAttention(at: string, config: JambaConfig, { matrix }: Opener): Promise<AttentionWeights> {
  const { dModel, nHeads, nKvHeads, headDim } = config;
  return {
    qProj: await matrix(`${at}.q_proj.weight`, [nHeads * headDim, dModel]),
    kProj: await matrix(`${at}.k_proj.weight`, [nKvHeads * headDim, dModel]),
    vProj: await matrix(`${at}.v_proj.weight`, [nKvHeads * headDim, dModel]),
    oProj: await matrix(`${at}.o_proj.weight`, [dModel, nHeads * headDim]),
  };
}

async function loadMlp(at: string, { dModel, dFf }: JambaConfig, { matrix }: Opener): Promise<MlpWeights> {
  return {
    gateProj: await matrix(`${at}.gate_proj.weight`, [dFf, dModel]),
    upProj: await matrix(`${at}.up_proj.weight`, [dFf, dModel]),
    downProj: await matrix(`${at}.down_proj.weight`, [dModel, dFf]),
  };
}

/** Experts as transformers 5 fuses them (gate above up, all experts in one tensor), or one tensor each. */
async function loadMoe(at: string, config: JambaConfig, { tensors, open, exact }: Opener): Promise<MoeWeights> {
  const { dModel, dFf, nExperts } = config;
  const each = Array.from({ length: nExperts }, (_, expert) => expert);
  const router = await exact(`${at}.router.weight`, [nExperts, dModel]);
  if (tensors.has(`${at}.experts.gate_up_proj`)) {
    const gateUp = tensors.take(`${at}.experts.gate_up_proj`, [nExperts, 2 * dFf, dModel]);
    const half = (which: 0 | 1) =>
      concatRows(
        `${at}.experts.${which === 0 ? "gate" : "up"}_proj`,
        [nExperts, dFf, dModel],
        each.map((expert) => ({ source: gateUp, from: (2 * expert + which) * dFf, to: (2 * expert + which + 1) * dFf })),
      );
    const gateProj = await open(half(0), "experts");
    const upProj = await open(half(1), "experts");
    const downProj = await open(tensors.take(`${at}.experts.down_proj`, [nExperts, dModel, dFf]), "experts");
    return { router, gateProj, upProj, downProj };
  }
  const stack = (proj: string, rows: number, columns: number) => {
    const sources = each.map((expert) => tensors.take(`${at}.experts.${expert}.${proj}.weight`, [rows, columns]));
    return open(
      concatRows(
        `${at}.experts.*.${proj}.weight`,
        [nExperts, rows, columns],
        sources.map((source) => ({ source, from: 0, to: rows })),
      ),
      "experts",
    );
  };
  return {
    router,
    gateProj: await stack("gate_proj", dFf, dModel),
    upProj: await stack("up_proj", dFf, dModel),
    downProj: await stack("down_proj", dModel, dFf),
  };
}

/** Today's name of a part, and those it had before; each line was found in a published checkpoint. */
const spellings: readonly (readonly [now: string, before: string])[] = [
  [".feed_forward.", ".moe."],
  [".pre_ff_layernorm.", ".pre_moe_layernorm."],
  [".b_layernorm.", ".B_layernorm."],
  [".c_layernorm.", ".C_layernorm."],
  [".gate_proj.", ".experts.0.gate_proj."],
  [".up_proj.", ".experts.0.up_proj."],
  [".down_proj.", ".experts.0.down_proj."],
];

/** All names under which `name` may be stored, today's first. */
export function spellingsOf(name: string): string[] {
  let names = [name];
  for (const [now, before] of spellings) {
    const dense = !before.includes(".experts.") || !name.includes(".experts.");
    if (dense && name.includes(now)) names = names.flatMap((n) => [n, n.replace(now, before)]);
  }
  return names;
}

function tensorReader(file: TensorFile, config: JambaConfig, onRead: LoadWeightsOptions["onRead"]) {
  const left = new Set(file.tensors.keys());
  const find = (name: string) => spellingsOf(name).find((spelling) => left.has(spelling));
  return {
    has: (name: string) => find(name) !== undefined,
    take(name: string, shape: readonly number[]): WeightSource {
      const found = find(name);
      if (!found) throw missing(file, name, shape);
      const info = file.tensors.get(found)!;
      if (info.shape.join() !== shape.join()) {
        throw new LoadError(
          `${found}: expected [${shape.join(", ")}], found [${info.shape.join(", ")}] in ${info.file}. ${hintFor(name, config)}; is the file from another checkpoint?`,
        );
      }
      left.delete(found);
      const source = file.weight(found);
      return onRead ? whenRead(source, (sizeBytes) => onRead(sizeBytes, info.file)) : source;
    },
    ignore: (name: string) => left.delete(name),
    /** A tensor of the model that no layer asked for means that config.json and weights disagree. */
    expectNoneLeft() {
      const stray = [...left].find((name) => name.startsWith("model.") || name === "lm_head.weight");
      if (!stray) return;
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
      ? "config.json says tie_word_embeddings = false; set it to true if the embeddings serve as head"
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

/** The stored dtype, or f32 (which loses nothing) on a backend that does not compute with it. */
function storable({ device }: WeightOpener, source: WeightSource): WeightDtype {
  if (device.weightDtypes.includes(source.dtype)) return source.dtype;
  if (device.weightDtypes.includes("f32")) return "f32";
  throw new DtypeError(`${source.name}: expected one of ${device.weightDtypes.join(", ")} on ${device.name}, found ${source.dtype}`);
}
