// The device that options ask for, and what it can hold.

import { type Backend, BackendError, type DeviceInfo, JambaError } from "@jamba/core";
import { type JambaConfig, modelTensors } from "@jamba/loader";
import type { LoadOptions } from "./load-options.ts";
import { type OpenedBackend, openBackend, type Wanted } from "./open-backend.ts";

/** Parameters above which "auto" refuses the reference: each takes it 4 bytes, and each token seconds. */
const mostForReference = 1e9;

export interface Opened {
  readonly backend: Backend;
  readonly device: DeviceInfo;
}

/** The backend that the options ask for, closed with the model if it was opened here. */
export async function openDevice(
  { backend = "auto", ...wanted }: Pick<LoadOptions, "backend"> & Wanted,
  closers: (() => unknown)[],
): Promise<Opened> {
  const found: OpenedBackend = typeof backend === "string" ? await openBackend(backend, wanted) : { backend, passedOver: [] };
  const { backend: opened, slower } = found;
  const { threads } = wanted;
  if (typeof backend === "string") closers.push(() => opened.dispose());
  const { device } = opened;
  const instead = `${device.kind} runs instead, which takes about ${slower} as long`;
  const passedOver = found.passedOver.length > 0 && slower ? [...found.passedOver, instead] : found.passedOver;
  if (threads !== undefined && threads !== device.threads) {
    const where = [`${device.threads} on the ${device.kind} backend`, ...passedOver].join("; ");
    throw new JambaError("OPTION", `threads: expected ${where}, found ${threads}`);
  }
  const { notTried = [] } = found;
  const why = { ...(passedOver.length > 0 && { passedOver }), ...(notTried.length > 0 && { notTried }) };
  return { backend: opened, device: { ...device, ...why } };
}

/** What "auto" takes for weights that were packed before: another device where the fastest one packs none. */
export async function forPrepared(opened: Opened, options: LoadOptions, closers: (() => unknown)[]): Promise<Opened> {
  const { backend, device } = opened;
  if ((options.backend ?? "auto") !== "auto" || backend.packed) return opened;
  await backend.dispose();
  const { backend: packing, device: found } = await openDevice({ ...options, packs: true }, closers);
  const why = `${device.kind} takes no prepared weights: load the model that they were made from to have it on ${device.name}`;
  return { backend: packing, device: { ...found, passedOver: [why, ...(found.passedOver ?? [])] } };
}

/** @throws BackendError for a large model that nothing but the reference would run, which nobody asked for by name */
export function expectFastEnough(config: JambaConfig, { backend = "auto" }: Pick<LoadOptions, "backend">, device: DeviceInfo): void {
  if (backend !== "auto" || device.kind !== "reference") return;
  // Of what was passed over the last sentence says what runs instead.
  const parameters = modelTensors(config).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  if (parameters <= mostForReference) return;
  throw new BackendError(
    `backend: expected a faster device than the reference for ${(parameters / 1e9).toFixed(1)} billion parameters, found ` +
      `${device.passedOver?.slice(0, -1).join("; ") || "none"}; mend that, or ask for backend: "reference", which takes seconds a token`,
  );
}

/** Last opened, first closed. */
export async function closeAll(closers: (() => unknown)[]): Promise<void> {
  for (let close = closers.pop(); close; close = closers.pop()) await close();
}
