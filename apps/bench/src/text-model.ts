// Our side's model with a tokenizer, for scenes in which texts are asked. Others load it without one, as there is none to measure.

import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "@jamba/loader";
import { chatTemplate } from "./gguf-parts.ts";

/** A folder of the files of `folder`, linked, and the vocabulary that the peer has in `gguf`. @returns its path */
export async function withTokenizer(folder: string, gguf: string): Promise<string> {
  const { tokenizer, tokenizerConfig, close } = await openCheckpoint(gguf);
  await close();
  return linked(folder, `${folder}-text`, tokenizer, { ...(tokenizerConfig as object), chat_template: chatTemplate });
}

/** The same with a published tokenizer.json of Jamba 1.5. Tools are not shown to the model, so that prompts with and without are alike. */
export function withPublished(folder: string, tokenizerJson: string): string {
  const frame = "<|bom|><|{{ message.role }}|> {{ message.content }}<|eom|>";
  return linked(folder, `${folder}-published`, JSON.parse(readFileSync(tokenizerJson, "utf8")), {
    bos_token: "<|startoftext|>",
    eos_token: "<|endoftext|>",
    chat_template: `{{ bos_token }}{% for message in messages %}${frame}{% endfor %}<|bom|><|assistant|>`,
  });
}

function linked(folder: string, target: string, tokenizer: unknown, config: object): string {
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target);
  for (const name of readdirSync(folder)) linkSync(join(folder, name), join(target, name));
  writeFileSync(join(target, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(join(target, "tokenizer_config.json"), JSON.stringify(config));
  return target;
}
