// Our side's model with a tokenizer, for scenes in which texts are asked. Others load it without one, as there is none to measure.

import { linkSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "@jamba/loader";
import { chatTemplate } from "./gguf.ts";

/** A folder of the files of `folder`, linked, and the vocabulary that the peer has in `gguf`. @returns its path */
export async function withTokenizer(folder: string, gguf: string): Promise<string> {
  const target = `${folder}-text`;
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target);
  for (const name of readdirSync(folder)) linkSync(join(folder, name), join(target, name));
  const { tokenizer, tokenizerConfig, close } = await openCheckpoint(gguf);
  await close();
  writeFileSync(join(target, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(join(target, "tokenizer_config.json"), JSON.stringify({ ...(tokenizerConfig as object), chat_template: chatTemplate }));
  return target;
}
