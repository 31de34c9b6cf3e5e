// The device that options ask for, and what it can hold.

import { type Backend, BackendError, type DeviceInfo, DtypeError, type FloatDtype, JambaError, type WeightDtype } from "@jamba/core";
import { type JambaConfig, modelTensors } from "@jamba/loader";
import type { LoadOptions } from "./load-options.ts";
import { deviceText, type OpenedBackend, openBackend } from "./open-backend.ts";

/** Parameters above which "auto" refuses the reference: each takes it 4 bytes, and each token seconds. */
const mostForReference = 1e9;

/** The backend that the options ask for, closed with the model if it was opened here. */
export async function openDevice(
  { backend = "auto", threads }: Pick<LoadOptions, "backend" | "threads">,
  closers: (() => unknown)[],
): Promise<{ backend: Backend; device: DeviceInfo }> {
  const found: OpenedBackend = typeof backend === "string" ? await openBackend(backend, { threads }) : { backend, passedOver: [] };
  const { backend: opened, slower } = found;
  if (typeof backend === "string") closers.push(() => opened.dispose());
  const { device } = opened;
  const instead = `${device.kind} runs instead, which takes about ${slower} as long`;
  const passedOver = found.passedOver.length > 0 && slower ? [...found.passedOver, instead] : found.passedOver;
  if (threads !== undefined && threads !== device.threads) {
    const where = [`${device.threads} on the ${device.kind} backend`, ...passedOver].join("; ");
    throw new JambaError("OPTION", `threads: expected ${where}, found ${threads}`);
  }
  return { backend: opened, device: passedOver.length === 0 ? device : { ...device, passedOver } };
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

export function expectKvDtype(asked: FloatDtype | undefined, device: DeviceInfo): void {
  if (asked === undefined || device.kvDtypes.includes(asked)) return;
  throw new DtypeError(`kvDtype: expected one of ${device.kvDtypes.join(", ")}, found ${asked} on ${deviceText(device)}`);
}

/** Who holds weights in f32 wants exact numbers; others get what the device likes best. */
export function defaultKvDtype(dtypes: readonly WeightDtype[], { kvDtypes }: DeviceInfo): FloatDtype {
  return kvDtypes.includes("f32") && dtypes.every((dtype) => dtype === "f32") ? "f32" : kvDtypes[0];
}

/** Last opened, first closed. */
export async function closeAll(closers: (() => unknown)[]): Promise<void> {
  for (let close = closers.pop(); close; close = closers.pop()) await close();
}
