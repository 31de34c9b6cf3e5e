// From what a person chose to a loaded model.

import type { DeviceInfo, JambaModel, LoadOptions } from "jamba";
import type { DeviceChoice, ModelChoice, ModelStatus } from "../channel/service.ts";
import type { Files } from "../storage/files.ts";
import { fetchSmallModel, type SmallModel } from "./small-model.ts";

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
): Promise<{ model: JambaModel; warnings: readonly string[]; keep?: SmallModel["keep"] }> {
  const code = import("./jamba.ts");
  // A browser takes its time to find the first GPU, or that there is none: while the code comes.
  if (backend === "auto") void askForGpu();
  const onFetched = (doneBytes: number, totalBytes: number) => onProgress({ what: "fetch", doneBytes, totalBytes });
  const small = choice.kind === "small" ? fetchSmallModel(new URL("model/", base).href, onFetched) : undefined;
  const source = choice.kind === "small" ? small!.files : await filesOf(choice, files);
  const { loadModel } = await code;
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
  return { model: await loadModel(source, options), warnings, keep: small?.keep };
}

async function askForGpu(): Promise<object | null | undefined> {
  const { gpu } = navigator as { gpu?: { requestAdapter(options: object): Promise<object | null> } };
  return gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
}

/** Why no GPU runs it; nothing where one does, or where jamba has said why. */
export async function whyNoGpu({ kind, passedOver = [] }: DeviceInfo, chosen: DeviceChoice): Promise<string[]> {
  if (kind === "webgpu" || chosen !== "auto" || passedOver.some((one) => one.startsWith("webgpu"))) return [];
  if (!("gpu" in navigator)) return ["No GPU: this browser has no WebGPU, or it is switched off."];
  if (!(await askForGpu())) return ["No GPU: the browser has WebGPU, and no GPU here that it lets a page use."];
  return ["No GPU: the one that the browser offers is played by the processor, which is faster without."];
}

async function filesOf(choice: Exclude<ModelChoice, { kind: "small" }>, files: Files) {
  if (choice.kind === "files") return choice.files;
  const { openStored } = await import("../models/download.ts");
  return openStored(files, choice.id);
}
