// The model that is asked, and its words as `@jamba/grammar` wants them.

import { readFileSync } from "node:fs";
import { openCpuBackend } from "@jamba/backend-cpu";
import { Vocabulary } from "@jamba/grammar";
import { loadTokenizer, type Tokenizer } from "@jamba/tokenizer";
import { type JambaModel, loadModel } from "jamba";
import type { Random } from "../random.ts";
import type { PartJob } from "./part.ts";

export interface Loaded {
  readonly model: JambaModel;
  close(): Promise<void>;
}

/** Its vocabulary is read when this resolves. */
export async function openModel({ model: folder, threads, level }: PartJob, contextLength: number): Promise<Loaded> {
  const backend = await openCpuBackend({ threads, level });
  const model = await loadModel(folder!, { backend, contextLength });
  await model.format({ type: "json", schema: { const: "warm" } });
  return {
    model,
    async close() {
      await model.dispose();
      await backend.dispose();
    },
  };
}

export function openTokenizer(path: string): Tokenizer {
  return loadTokenizer(JSON.parse(readFileSync(path, "utf8")), { bos_token: "<|startoftext|>", eos_token: "<|endoftext|>" });
}

/** As an engine has it; `jamba` makes its own of the model. */
export function openVocabulary(tokenizer: Tokenizer): Vocabulary {
  // Jamba 1.5 marks its comma as special.
  const isControl = (id: number) => tokenizer.isSpecial(id) && tokenizer.tokenOf(id)!.length > 1;
  return new Vocabulary({
    size: tokenizer.vocabSize,
    textOf(id) {
      const piece = tokenizer.tokenOf(id) === undefined ? undefined : tokenizer.pieceOf(id);
      return typeof piece === "number" ? Uint8Array.of(piece) : piece;
    },
    isControl,
    stopIds: [tokenizer.eosId!],
    encode: (text) => plainIds(tokenizer, isControl, text),
  });
}

/** Without control tokens, though the text may spell some. */
function plainIds(tokenizer: Tokenizer, isControl: (id: number) => boolean, text: string): number[] {
  const ids = tokenizer.encode(text);
  return ids.some(isControl) ? [...text].flatMap((char) => tokenizer.encode(char)) : ids;
}

/** Letters that make a prompt of about so many tokens, never the same twice. */
export function newText(random: Random, tokens: number): string {
  return Array.from({ length: tokens }, () => String.fromCharCode(97 + Math.floor(random() * 26))).join(" ");
}
