// Tells a Jamba from what else is called a model, by what config.json says.

import { LoadError } from "@jamba/core";
import { isObject, quote, showJson } from "../source/untrusted.ts";
import { expectUnquantised } from "./quantised.ts";

/** What a config has that names no family, and that no Jamba's has: state-spaces' own Mamba, GPT-2's and Meta's forms, diffusers, timm. */
const foreignKeys = ["ssm_cfg", "d_model", "n_embd", "dim", "_class_name", "architecture"];

/** What to do with a model of another family. */
export const otherFamily = "not a Jamba: this package runs Jamba models alone; transformers or llama.cpp may run this one";

/** What is wrong with a config.json that is not of a Jamba, after its file's name; undefined for a Jamba's. */
function foreignConfig(json: unknown): string | undefined {
  if (!isObject(json)) return undefined;
  const { model_type: type } = json;
  const architectures = [json.architectures ?? []].flat().filter((name): name is string => typeof name === "string");
  const called =
    architectures.length > 0
      ? ` (${architectures
          .slice(0, 4)
          .map((name) => quote(name).slice(1, -1))
          .join(", ")})`
      : "";
  if (type !== undefined && type !== null) {
    if (type === "jamba") return undefined;
    const found = typeof type === "string" ? quote(type) : showJson(type);
    return `model_type: expected "jamba", found ${found}${called}; ${otherFamily}`;
  }
  if (architectures.some((name) => name.startsWith("Jamba"))) return undefined;
  if (called) return `architectures: expected "JambaForCausalLM", found${called}; ${otherFamily}`;
  const foreign = foreignKeys.filter((key) => Object.hasOwn(json, key));
  if (foreign.length === 0 || Object.hasOwn(json, "hidden_size")) return undefined;
  return `model_type: expected "jamba", found none, and the keys ${foreign.join(", ")} of other models; ${otherFamily}`;
}

/** @throws LoadError for the config of another family, JambaError UNSUPPORTED for a Jamba that another program quantised */
export function expectRunnable(json: unknown, file: string): void {
  const foreign = foreignConfig(json);
  if (foreign !== undefined) throw new LoadError(`${file}: ${foreign}`);
  if (isObject(json)) expectUnquantised(json, file);
}
