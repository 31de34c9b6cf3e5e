// How large the module is, and what it takes in memory with a vocabulary read.

import { statSync } from "node:fs";
import { prepareSchema } from "@jamba/grammar";
import { openTokenizer, openVocabulary } from "./model.ts";
import type { PartJob, Told } from "./part.ts";
import { newTools } from "./tools.ts";

const packed = new URL("../../../packages/grammar/module/grammar.wasm.gz", import.meta.url);

export async function size({ tokenizer: path }: PartJob, told: Told): Promise<void> {
  told.figure({ what: "the module, gzipped", value: statSync(packed).size / 1000, unit: "KB", target: ["<=", 650] });
  const tokenizer = openTokenizer(path);
  const begun = performance.now();
  const vocabulary = openVocabulary(tokenizer);
  await vocabulary.compile("start: /[a-z]+/");
  told.figure({ what: `${tokenizer.vocabSize} tokens: read, and a first grammar`, value: performance.now() - begun, unit: "ms" });
  const memory = async () => (await vocabulary.memoryBytes()) / 2 ** 20;
  told.figure({ what: `${tokenizer.vocabSize} tokens: memory`, value: await memory(), unit: "MiB", target: ["<=", 45] });
  const rules = newTools(10).map((tool) => {
    const { parameters } = (tool as { function: { parameters: unknown } }).function;
    return `%json ${JSON.stringify(prepareSchema(parameters, { strict: true, name: "parameters" }).schema)}`;
  });
  await vocabulary.compile(`start: ${rules.map((_, i) => `r${i}`).join(" | ")}\n${rules.map((rule, i) => `r${i}: ${rule}`).join("\n")}`);
  told.figure({ what: "the same with 10 tools of 5 fields", value: await memory(), unit: "MiB" });
  await vocabulary.dispose();
}
