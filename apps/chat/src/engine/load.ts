// From what a person chose to a loaded model.

import type { DeviceInfo, JambaModel, LoadOptions } from "jamba";
import type { DeviceChoice, ModelChoice, ModelStatus } from "../channel/service.ts";
import type { Files } from "../storage/files.ts";
import { fetchSmallModel } from "./small-model.ts";

export interface LoadChoiceOptions {
  readonly files: Files;
  /** Where the page is: the small model lies below it. */
  readonly base: string;
  readonly backend: DeviceChoice;
  readonly signal: AbortSignal;
  onProgress(progress: NonNullable<ModelStatus["progress"]>): void;
}

export async function loadChoice(
  choice: ModelChoice,
  { files, base, backend, signal, onProgress }: LoadChoiceOptions,
): Promise<{ model: JambaModel; warnings: readonly string[] }> {
  // While the code comes, so do the first bytes of the model.
  const [{ loadModel }, source] = await Promise.all([import("./jamba.ts"), sourceOf(choice, files, base, onProgress)]);
  signal.throwIfAborted();
  const warnings: string[] = [];
  const options: LoadOptions = {
    formats: "when-used",
    backend,
    ...(choice.kind === "stored" && { dtype: choice.dtype, contextLength: choice.contextLength }),
    signal,
    onWarning: (warning) => void warnings.push(warning),
    onProgress: ({ doneBytes, totalBytes }) => onProgress({ what: "load", doneBytes, totalBytes }),
  };
  return { model: await loadModel(source, options), warnings };
}

/** Why no GPU runs it; nothing where one does, or where jamba has said why. */
export async function whyNoGpu({ kind, passedOver = [] }: DeviceInfo, chosen: DeviceChoice): Promise<string[]> {
  if (kind === "webgpu" || chosen !== "auto" || passedOver.some((one) => one.startsWith("webgpu"))) return [];
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<object | null> } };
  if (!gpu) return ["No GPU: this browser has no WebGPU, or it is switched off."];
  if (!(await gpu.requestAdapter().catch(() => null))) return ["No GPU: the browser has WebGPU, and no GPU here that it lets a page use."];
  return ["No GPU: the one that the browser offers is played by the processor, which is faster without."];
}

async function sourceOf(choice: ModelChoice, files: Files, base: string, onProgress: LoadChoiceOptions["onProgress"]) {
  if (choice.kind === "small")
    return fetchSmallModel(new URL("model/", base).href, (doneBytes, totalBytes) => onProgress({ what: "fetch", doneBytes, totalBytes }));
  if (choice.kind === "files") return choice.files;
  const { openStored } = await import("../models/download.ts");
  return openStored(files, choice.id);
}
