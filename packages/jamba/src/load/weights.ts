// From a checkpoint's tensors to the model's weights: which dtype each is held in, and where it goes.

import type { AttentionWeights } from "@jamba/attention";
import { type Backend, type DeviceInfo, DtypeError, packedDtypeOf, type StoredDtype, type Weight, type WeightDtype } from "@jamba/core";
import { type JambaConfig, type ModelTensor, modelSources, modelTensors, type TensorFile, type TensorRole } from "@jamba/loader";
import type { MlpWeights, MoeWeights } from "@jamba/moe";
import type { MambaWeights } from "@jamba/ssm";
import { deviceText } from "./open-backend.ts";

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

/** "auto": matrices as stored; "experts-int8": the same, but experts as q8. Norms, biases, convolution, A, D and the router are f32 always. */
export type LoadDtype = "auto" | WeightDtype | "experts-int8";

/** Opens one weight of a model, wherever it comes from. */
export type OpenWeight = (tensor: ModelTensor, signal?: AbortSignal) => Promise<Weight & Disposable>;

export interface LoadWeightsOptions {
  readonly signal?: AbortSignal;
  /** Called with every weight that was opened, so that it can be let go of. */
  readonly keep?: (weight: Weight & Disposable) => void;
}

/** Opens every weight of `config`, one at a time. */
export async function loadWeights(config: JambaConfig, open: OpenWeight, { signal, keep }: LoadWeightsOptions = {}): Promise<ModelWeights> {
  const weights = new Map<string, Weight>();
  for (const tensor of modelTensors(config)) {
    signal?.throwIfAborted();
    const weight = await open(tensor, signal);
    keep?.(weight);
    weights.set(tensor.name, weight);
  }
  return placeWeights(config, (name) => weights.get(name)!);
}

/**
 * Opens weights from a checkpoint's tensors.
 * @throws LoadError when tensors and config disagree, DtypeError when the device lacks what `asked` needs
 */
export function checkpointOpener(
  file: TensorFile,
  config: JambaConfig,
  backend: Pick<Backend, "device" | "openWeight">,
  asked: LoadDtype,
  onRead?: (sizeBytes: number, file: string) => void,
): OpenWeight {
  expectDtype(asked, backend.device);
  const sources = modelSources(file, config, onRead);
  return ({ name, role }, signal) => {
    const source = sources.get(name)!;
    return backend.openWeight(source, dtypeFor(role, asked, source.dtype, backend.device), signal);
  };
}

/**
 * What a weight is held in. q4 holds "fine" weights as q8. "auto" keeps what the stored dtype has, in the fewest bytes that the
 * device computes with.
 * @throws DtypeError for a stored dtype that the device can't hold
 */
export function dtypeFor(role: TensorRole, asked: LoadDtype, stored: StoredDtype, device: DeviceInfo): WeightDtype {
  if (role === "exact") return "f32";
  if (asked === "experts-int8" && role === "experts") return "q8";
  if (asked === "q4" && role === "fine") return "q8";
  if (asked !== "auto" && asked !== "experts-int8") return asked;
  // Where a device does not compute with it, f32 loses nothing.
  const held = [packedDtypeOf[stored], "f32" as const].find((dtype) => device.weightDtypes.includes(dtype));
  if (held) return held;
  throw new DtypeError(`dtype: expected one of ${device.weightDtypes.join(", ")} on ${device.name}, found ${stored}`);
}

/** @throws DtypeError when the device lacks what `asked` needs */
export function expectDtype(asked: LoadDtype, device: DeviceInfo): void {
  const needed: readonly WeightDtype[] =
    asked === "auto" ? [] : asked === "experts-int8" ? ["q8"] : asked === "q4" ? ["q4", "q8"] : [asked];
  if (needed.every((dtype) => device.weightDtypes.includes(dtype))) return;
  throw new DtypeError(`dtype: expected auto or one of ${device.weightDtypes.join(", ")}, found ${asked} on ${deviceText(device)}`);
}

/** Names of checkpoints become names of the model. */
function placeWeights(config: JambaConfig, at: (name: string) => Weight): ModelWeights {
  const layers = Array.from({ length: config.nLayers }, (_, layer): LayerWeights => {
    const of = (name: string) => at(`model.layers.${layer}.${name}`);
    return {
      mixerNorm: of("input_layernorm.weight"),
      mixer:
        config.layerKinds[layer] === "mamba"
          ? {
              kind: "mamba",
              inProj: of("mamba.in_proj.weight"),
              inProjBias: config.projBias ? of("mamba.in_proj.bias") : undefined,
              convWeight: of("mamba.conv1d.weight"),
              convBias: config.convBias ? of("mamba.conv1d.bias") : undefined,
              xProj: of("mamba.x_proj.weight"),
              dtProj: of("mamba.dt_proj.weight"),
              dtBias: of("mamba.dt_proj.bias"),
              A: of("mamba.A"),
              D: of("mamba.D"),
              dtNorm: of("mamba.dt_layernorm.weight"),
              bNorm: of("mamba.b_layernorm.weight"),
              cNorm: of("mamba.c_layernorm.weight"),
              outProj: of("mamba.out_proj.weight"),
              outProjBias: config.projBias ? of("mamba.out_proj.bias") : undefined,
            }
          : {
              kind: "attention",
              qProj: of("self_attn.q_proj.weight"),
              kProj: of("self_attn.k_proj.weight"),
              vProj: of("self_attn.v_proj.weight"),
              oProj: of("self_attn.o_proj.weight"),
            },
      ffnNorm: of("pre_ff_layernorm.weight"),
      ffn:
        config.ffnKinds[layer] === "moe"
          ? {
              kind: "moe",
              router: of("feed_forward.router.weight"),
              gateProj: of("feed_forward.experts.gate_proj"),
              upProj: of("feed_forward.experts.up_proj"),
              downProj: of("feed_forward.experts.down_proj"),
            }
          : {
              kind: "mlp",
              gateProj: of("feed_forward.gate_proj.weight"),
              upProj: of("feed_forward.up_proj.weight"),
              downProj: of("feed_forward.down_proj.weight"),
            },
    };
  });
  const embedding = at("model.embed_tokens.weight");
  return {
    embedding,
    layers,
    finalNorm: at("model.final_layernorm.weight"),
    lmHead: config.tiedEmbeddings ? embedding : at("lm_head.weight"),
  };
}
