// From what a person chose to a loaded model.

import type { JambaModel, LoadOptions } from "jamba";
import type { ModelChoice, ModelStatus } from "../channel/service.ts";
import type { Files } from "../storage/files.ts";
import { fetchSmallModel } from "./small-model.ts";

export interface LoadChoiceOptions {
  readonly files: Files;
  /** Where the page is: the small model lies below it. */
  readonly base: string;
  readonly signal: AbortSignal;
  onProgress(progress: NonNullable<ModelStatus["progress"]>): void;
}

export async function loadChoice(
  choice: ModelChoice,
  { files, base, signal, onProgress }: LoadChoiceOptions,
): Promise<{ model: JambaModel; warnings: readonly string[] }> {
  // While the code comes, so do the first bytes of the model.
  const [{ loadModel }, source] = await Promise.all([import("./jamba.ts"), sourceOf(choice, files, base, onProgress)]);
  signal.throwIfAborted();
  const warnings: string[] = [];
  const options: LoadOptions = {
    formats: "when-used",
    ...(choice.kind === "stored" && { dtype: choice.dtype, contextLength: choice.contextLength }),
    signal,
    onWarning: (warning) => void warnings.push(warning),
    onProgress: ({ doneBytes, totalBytes }) => onProgress({ what: "load", doneBytes, totalBytes }),
  };
  return { model: await loadModel(source, options), warnings };
}

async function sourceOf(choice: ModelChoice, files: Files, base: string, onProgress: LoadChoiceOptions["onProgress"]) {
  if (choice.kind === "small")
    return fetchSmallModel(new URL("model/", base).href, (doneBytes, totalBytes) => onProgress({ what: "fetch", doneBytes, totalBytes }));
  if (choice.kind === "files") return choice.files;
  const { openStored } = await import("../models/download.ts");
  return openStored(files, choice.id);
}
