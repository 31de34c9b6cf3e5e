// The device that options ask for, and what it can hold.

import { type Backend, type DeviceInfo, DtypeError, type FloatDtype, JambaError, type WeightDtype } from "@jamba/core";
import type { LoadOptions } from "./load-options.ts";
import { deviceText, openBackend } from "./open-backend.ts";

/** The backend that the options ask for, closed with the model if it was opened here. */
export async function openDevice(
  { backend = "auto", threads }: Pick<LoadOptions, "backend" | "threads">,
  closers: (() => unknown)[],
): Promise<{ backend: Backend; device: DeviceInfo }> {
  const { backend: opened, passedOver } =
    typeof backend === "string" ? await openBackend(backend, { threads }) : { backend, passedOver: [] };
  if (typeof backend === "string") closers.push(() => opened.dispose());
  const { device } = opened;
  if (threads !== undefined && threads !== device.threads) {
    const where = [`${device.threads} on the ${device.kind} backend`, ...passedOver].join("; ");
    throw new JambaError("OPTION", `threads: expected ${where}, found ${threads}`);
  }
  return { backend: opened, device: passedOver.length === 0 ? device : { ...device, passedOver } };
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
