// Which files of a repository a model needs: its configs and tokenizer, and one set of weights. Where the files lie is not known here.

import { LoadError } from "@jamba/core";
import { ggufShards } from "../gguf/shards.ts";
import { expectRunnable } from "../model/family.ts";
import { templateFolder } from "../source/folder.ts";
import { explainFiles, isNameless } from "../source/other-files.ts";
import { isObject, quote } from "../source/untrusted.ts";
import { expectSafePath } from "./hub-id.ts";

export interface Choice {
  /** Small ones first. */
  readonly files: readonly string[];
  /** The weights to open, where the folder alone would not say which. */
  readonly file?: string;
}

export interface Shelf {
  /** For errors. */
  readonly name: string;
  /** Sizes in bytes. */
  readonly sizes: ReadonlyMap<string, number>;
  readText(file: string): Promise<string>;
}

const singleFile = "model.safetensors";
const indexFile = "model.safetensors.index.json";
const smallFiles = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
  "chat_template.json",
  "special_tokens_map.json",
];

/** @throws LoadError when the weights are absent, incomplete or not the only ones */
export async function chooseFiles(shelf: Shelf, wanted: string | undefined): Promise<Choice> {
  const choice = wanted === undefined ? await chooseModel(shelf) : chooseNamed(shelf, wanted);
  for (const file of choice.files) {
    expectSafePath(file, shelf.name);
    if (!shelf.sizes.has(file))
      throw new LoadError(`${shelf.name}: expected the file ${quote(file)}, found none; the model is incomplete there`);
  }
  return choice;
}

function configsOf(sizes: ReadonlyMap<string, number>): string[] {
  const templates = [...sizes.keys()].filter((file) => file.startsWith(`${templateFolder}/`) && /^[^/]+\/[^/]+\.jinja$/.test(file));
  return [...smallFiles.filter((file) => sizes.has(file)), ...templates.sort()];
}

async function chooseModel(shelf: Shelf): Promise<Choice> {
  const { name, sizes } = shelf;
  const configs = configsOf(sizes);
  // As in transformers, the single file goes before an index beside it.
  if (sizes.has(singleFile)) return { files: [...configs, singleFile] };
  if (sizes.has(indexFile)) return { files: [...configs, indexFile, ...(await shardsOf(shelf))] };
  const single = [...sizes.keys()].filter((file) => /^[^/]+\.safetensors$/.test(file));
  if (single.length === 1) return { files: [...configs, single[0]] };
  if (single.length > 1) throw ambiguous(shelf, single, `without ${indexFile}`);
  const models = ggufModels(sizes);
  if (models.length === 1) return chooseGguf(models[0]);
  if (models.length > 1) throw ambiguous(shelf, models, "without safetensors");
  await refuseUnrunnable(shelf);
  const hint = explainFiles([...sizes.keys()]) ?? "is it a model?";
  throw new LoadError(`${name}: expected ${singleFile}, ${indexFile} or a .gguf file, found none of them; ${hint}`);
}

/** @throws what `parseConfig` throws for another family and for quantised weights, which need not be fetched to say so */
export async function refuseUnrunnable({ name, sizes, readText }: Shelf): Promise<void> {
  if (!sizes.has("config.json")) return;
  try {
    expectRunnable(JSON.parse(await readText("config.json")), `${name}: config.json`);
  } catch (error) {
    // Who opens it says what is wrong with it.
    if (!(error instanceof SyntaxError)) throw error;
  }
}

function chooseNamed(shelf: Shelf, wanted: string): Choice {
  const { name, sizes } = shelf;
  if (/\.safetensors$/i.test(wanted)) return { files: [...configsOf(sizes), wanted], file: wanted };
  if (isNameless(wanted) && sizes.has(wanted)) return { files: [wanted], file: wanted };
  const models = ggufModels(sizes);
  const exact = models.find((file) => [file, file.replace(/\.gguf$/i, "")].includes(wanted)) ?? (ggufShards(wanted) && wanted);
  if (exact !== undefined) return chooseGguf(exact);
  // Of "UD-Q4_K_M" a whole word, so that Q4_K is not Q4_K_M.
  const tag = new RegExp(`(^|[-._/])${wanted.replaceAll(/[^\w]/g, "\\$&")}(?=[-./]|$)`, "i");
  const found = models.filter((file) => tag.test(file.replace(/(-\d{5}-of-\d{5})?\.gguf$/i, "")));
  if (found.length === 1) return chooseGguf(found[0]);
  if (found.length > 1) throw ambiguous(shelf, found, `for ${quote(wanted)}`);
  const choices = models.length > 0 ? listed(shelf, models) : "no .gguf file at all";
  throw new LoadError(`${name}: expected a .gguf file for ${quote(wanted)}, found ${choices}`);
}

function chooseGguf(model: string): Choice {
  const files = ggufShards(model) ?? [model];
  return { files, file: files[0] };
}

/** GGUF files; of a split model its first one, or the first that is there. */
function ggufModels(sizes: ReadonlyMap<string, number>): string[] {
  const models = new Map<string, string>();
  for (const file of [...sizes.keys()].filter((file) => /\.gguf$/i.test(file)).sort()) {
    const key = file.replace(/-\d{5}-of-(\d{5}\.gguf)$/i, "-of-$1");
    if (!models.has(key)) models.set(key, file);
  }
  return [...models.values()];
}

async function shardsOf({ name, readText }: Shelf): Promise<string[]> {
  const where = `${name}: ${indexFile}`;
  let json: unknown;
  try {
    json = JSON.parse(await readText(indexFile));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new LoadError(`${where}: expected JSON: ${cause.message}`, { cause });
  }
  const map = isObject(json) ? json.weight_map : undefined;
  const shards = isObject(map) ? [...new Set(Object.values(map))] : [];
  if (shards.length === 0) throw new LoadError(`${where}: expected a weight_map of tensor to file, found none`);
  return shards
    .map((file) => {
      if (typeof file === "string" && /^[^/\\:\0]+\.safetensors$/.test(file)) return file;
      const found = typeof file === "string" ? quote(file) : typeof file;
      throw new LoadError(`${where}: expected the name of a .safetensors file in the same directory, found ${found}`);
    })
    .sort();
}

function ambiguous(shelf: Shelf, files: readonly string[], why: string): LoadError {
  return new LoadError(`${shelf.name}: expected one model ${why}, found ${listed(shelf, files)}; name one as ID:FILE`);
}

/** With sizes; of a split model that of all its files. */
function listed({ sizes }: Shelf, files: readonly string[]): string {
  const maxFiles = 40;
  const lines = files.slice(0, maxFiles).map((file) => {
    const bytes = (ggufShards(file) ?? [file]).reduce((sum, part) => sum + (sizes.get(part) ?? 0), 0);
    return `${quote(file).slice(1, -1)} (${(bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 1)} GB)`;
  });
  return files.length > maxFiles ? `${lines.join(", ")} and ${files.length - maxFiles} more` : lines.join(", ");
}
