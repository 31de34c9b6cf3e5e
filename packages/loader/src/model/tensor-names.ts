// Names of tensors as programs save them, and the plain ones that they stand for: those of a JambaForCausalLM in transformers.

import { JambaError, LoadError } from "@jamba/core";
import { quote } from "../source/untrusted.ts";

/** Modules that wrap another and leave their name in its tensors': compiled, parallel, sharded, with checkpoints of activations. */
const wrappers = new Set(["_orig_mod", "module", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer"]);

/** What an adapter adds to the tensors of its model: peft's LoRA, DoRA, IA3, LoHa, LoKr and OFT, and its copies of whole modules. */
const ofAdapter = /\.(lora_\w+|ia3_\w+|hada_\w+|lokr_\w+|oft_\w+|modules_to_save|original_module)(\.|$)/;

/** Tables of rotary embeddings and masks, which old versions of libraries saved along; Jamba computes with none. */
export function isBuffer(name: string): boolean {
  return /(\.rotary_emb\.|\.(inv_freq|masked_bias|position_ids)$)/.test(name);
}

/**
 * Plain names, each with the name that the file has it under.
 * @throws JambaError UNSUPPORTED for tensors of an adapter, LoadError for two tensors that are one
 */
export function plainNames(file: { readonly name: string; readonly tensors: ReadonlyMap<string, unknown> }): ReadonlyMap<string, string> {
  const stored = new Map<string, string>();
  for (const name of file.tensors.keys()) {
    if (ofAdapter.test(name))
      throw new JambaError(
        "UNSUPPORTED",
        `${file.name}: expected the weights of a whole model, found ${quote(name)} of an adapter (LoRA); ${mergeHint}`,
      );
    const plain = plainName(name);
    const other = stored.get(plain);
    if (other !== undefined)
      throw new LoadError(`${file.name}: expected one tensor ${plain}, found it as ${quote(other)} and as ${quote(name)}`);
    stored.set(plain, name);
  }
  return stored;
}

/** What to do with an adapter. */
export const mergeHint =
  "merge it into its base model (peft: PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)) and load that";

function plainName(name: string): string {
  const bare = name
    .split(".")
    .filter((part) => !wrappers.has(part))
    .join(".")
    .replace(/^(base_model\.model|pretrained_model)\./, "");
  // A JambaModel that was saved alone is nobody's "model".
  return /^(embed_tokens|layers|final_layernorm)\./.test(bare) ? `model.${bare}` : bare;
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
