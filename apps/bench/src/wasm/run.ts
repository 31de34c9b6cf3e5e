// One job on one backend, in a process or a page of its own.

import { loadModel } from "jamba";
import { openDoor } from "./door.ts";
import { measureModel } from "./model.ts";
import { measureOps } from "./ops.ts";
import type { Job, Told } from "./sides.ts";

export async function run(job: Job): Promise<Told> {
  const backend = await openDoor(job.door, job.threads);
  const device = `${backend.device.name}, ${backend.device.features.join("; ")}`;
  if (job.what === "ops") {
    const values = await measureOps(backend, job.cases);
    await backend.dispose();
    return { device, values };
  }
  const start = performance.now();
  const model = await loadModel(job.model, { backend, contextLength: 2048, formats: "when-used" });
  const loadedMs = performance.now() - start;
  const measured = await measureModel(model, backend, job);
  await model.dispose();
  await backend.dispose();
  return { device, loadedMs, ...measured };
}

export const failed = (error: unknown): Told => ({
  device: "",
  failed: error instanceof Error ? (error.stack ?? error.message) : String(error),
});
