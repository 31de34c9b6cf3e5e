// Models beside the one that is loaded: what they would take, those that are on this device, and those on their way.

import type { LoadDtype, MemoryPlan } from "jamba";
import type { Events, ModelPlan } from "../channel/service.ts";
import { download, removeStored, type StoredModel, storedModels } from "../models/download.ts";
import { lookUp } from "../models/hub.ts";
import type { Files } from "../storage/files.ts";

export interface LibraryOptions {
  readonly files: Files;
  /** Where models come from, such as https://huggingface.co. */
  readonly hub: string;
  tell(event: "download", value: Events["download"]): void;
}

export class Library {
  readonly #options: LibraryOptions;
  readonly #running = new Map<string, AbortController>();

  constructor(options: LibraryOptions) {
    this.#options = options;
  }

  /** From headers alone: a few hundred kilobytes whatever the model has. */
  async plan({ id }: { id: string }, signal: AbortSignal): Promise<ModelPlan> {
    const [{ planMemory }, model] = await Promise.all([import("./plan.ts"), lookUp(this.#options.hub, id, signal)]);
    const plan = await planMemory(model.source, { signal });
    return {
      id,
      downloadBytes: model.totalBytes,
      ...choiceOf(plan),
      memoryBytes: plan.memory.freeBytes,
      device: plan.device ?? plan.backend,
    };
  }

  stored(): Promise<StoredModel[]> {
    return storedModels(this.#options.files);
  }

  async remove({ id }: { id: string }): Promise<void> {
    this.cancel({ id });
    await removeStored(this.#options.files, id);
  }

  cancel({ id }: { id: string }): void {
    this.#running.get(id)?.abort(new DOMException("The download was stopped.", "AbortError"));
  }

  /** Tabs hear of it as it comes. @throws what `download` throws */
  async download({ id }: { id: string }): Promise<void> {
    if (this.#running.has(id)) return;
    const { files, hub, tell } = this.#options;
    const controller = new AbortController();
    this.#running.set(id, controller);
    const { signal } = controller;
    try {
      const model = await lookUp(hub, id, signal);
      await download(model, files, { signal, onProgress: (progress) => tell("download", { id, progress }) });
      tell("download", { id });
    } catch (error) {
      tell("download", { id, ...(!signal.aborted && { error: (error as Error).message }) });
      if (!signal.aborted) throw error;
    } finally {
      this.#running.delete(id);
    }
  }
}

/** The most exact of what fits; where nothing does, what takes least. */
export function choiceOf({
  dtypes,
  dtype,
  fits,
  totalBytes,
  contextLength,
  largestContext,
}: MemoryPlan): Pick<ModelPlan, "dtype" | "fits" | "totalBytes" | "contextLength"> {
  if (fits) return { dtype, fits, totalBytes, contextLength };
  const offered: readonly LoadDtype[] = ["q8", "q4"];
  const smaller = dtypes.filter((one) => offered.includes(one.dtype));
  const first = smaller.find((one) => one.fits);
  if (first) return { ...first, contextLength };
  // As stored, with a shorter context.
  if (largestContext >= 2048) return { dtype, fits: true, totalBytes, contextLength: largestContext };
  return { ...(smaller.at(-1) ?? { dtype, totalBytes }), fits: false, contextLength };
}
