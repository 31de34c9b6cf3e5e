// Names of tensors as programs save them, and the plain ones that they stand for: those of a JambaForCausalLM in transformers.

import { JambaError, LoadError } from "@jamba/core";
import { mergeAdapter } from "../source/other-files.ts";
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
  const bare = new Map<string, string>();
  for (const name of file.tensors.keys()) {
    if (ofAdapter.test(name))
      throw new JambaError(
        "UNSUPPORTED",
        `${file.name}: expected the weights of a whole model, found ${quote(name)} of an adapter (LoRA); ${mergeAdapter}`,
      );
    const parts = name.split(".").filter((part) => !wrappers.has(part));
    bare.set(name, parts.join("."));
  }
  const plain = plainer([...bare.values()]);
  const stored = new Map<string, string>();
  for (const [name, parts] of bare) {
    const other = stored.get(plain(parts));
    if (other !== undefined)
      throw new LoadError(`${file.name}: expected one tensor ${plain(parts)}, found it as ${quote(other)} and as ${quote(name)}`);
    stored.set(plain(parts), name);
  }
  return stored;
}

/**
 * Where the embedding is, there is the model: as `model` of what has a head, alone (a JambaModel that was saved so), or within what
 * it was trained in (peft's `base_model.model`, Lightning's `model`).
 */
function plainer(names: readonly string[]): (name: string) => string {
  const ends = "embed_tokens.weight";
  const found = names.filter((name) => name === ends || name.endsWith(`.${ends}`));
  const at = found.length === 1 ? found[0].slice(0, -ends.length) : "model.";
  const outside = at.replace(/(^|\.)model\.$/, "$1");
  return (name) => {
    const [inside, beside] = [name.slice(at.length), name.slice(outside.length)];
    if (name.startsWith(at) && /^(embed_tokens|layers|final_layernorm)\./.test(inside)) return `model.${inside}`;
    return name.startsWith(outside) && beside.startsWith("lm_head.") ? beside : name;
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
