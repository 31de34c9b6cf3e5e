// The weights of a Jamba, each in its place.

import type { AttentionWeights } from "@jamba/attention";
import type { Weight } from "@jamba/core";
import type { JambaConfig } from "@jamba/loader";
import type { MlpWeights, MoeWeights } from "@jamba/moe";
import type { MambaWeights } from "@jamba/ssm";

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

/** @param at a weight by its name in `modelTensors` */
export function placeWeights(config: JambaConfig, at: (name: string) => Weight): ModelWeights {
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
