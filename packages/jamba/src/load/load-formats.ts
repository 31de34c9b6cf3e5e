// Formats of a model without its weights, for those that write schemas.

import { parseConfig, parseGenerationConfig } from "@jamba/loader";
import { loadTokenizer } from "@jamba/tokenizer";
import { checkOptions } from "../answer/options.ts";
import { expectTokenizer } from "../answer/prompt.ts";
import type { CompiledFormat } from "../format/compiled-format.ts";
import { Constraints } from "../format/constraint.ts";
import type { Format } from "../format/format.ts";
import { turnEnds } from "./load-model.ts";
import type { LoadOptions } from "./load-options.ts";
import { type ModelSource, openSource } from "./source.ts";

export class Formats {
  readonly #constraints: Constraints;

  /** @param constraints which this owns */
  constructor(constraints: Constraints) {
    this.#constraints = constraints;
  }

  /** As `JambaModel.format`. */
  format(format: Format, { signal }: { signal?: AbortSignal } = {}): Promise<CompiledFormat> {
    return this.#constraints.compile(checkOptions({ format }).format!, signal);
  }

  dispose(): Promise<void> {
    return this.#constraints.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * Of a model on the hub only its small files are fetched.
 * @throws as `loadModel`, and TokenizerError for a model without a tokenizer
 */
export async function loadFormats(
  source: ModelSource,
  options: Pick<LoadOptions, "revision" | "cacheDir" | "token" | "offline" | "signal"> = {},
): Promise<Formats> {
  const checkpoint = await openSource(source, options);
  try {
    const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`);
    const generation = parseGenerationConfig(checkpoint.generationConfig, `${checkpoint.name}: generation_config.json`);
    const tokenizer = expectTokenizer(
      checkpoint.tokenizer === undefined ? undefined : loadTokenizer(checkpoint.tokenizer, checkpoint.tokenizerConfig),
    );
    const constraints = new Constraints(tokenizer, new Set([...config.eosIds, ...generation.eosIds, ...turnEnds(tokenizer)]));
    constraints.prepare();
    return new Formats(constraints);
  } finally {
    await checkpoint.close();
  }
}
