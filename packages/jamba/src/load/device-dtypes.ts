// Formats of weights, keys and values: what is asked for, and what a device has.

import { type DeviceInfo, DtypeError, type FloatDtype, packedDtypeOf, type StoredDtype, type WeightDtype } from "@jamba/core";
import type { TensorRole } from "@jamba/loader";

/** "auto": matrices as stored; "experts-int8": the same, but experts as q8. Norms, biases, convolution, A, D and the router are f32 always. */
export type LoadDtype = "auto" | WeightDtype | "experts-int8";

/**
 * What a weight is held in. q4 holds "fine" weights as q8. "auto" keeps what the stored dtype has, in the fewest bytes that the
 * device computes with.
 * @throws DtypeError for a stored dtype that the device can't hold
 */
export function dtypeFor(role: TensorRole, asked: LoadDtype, stored: StoredDtype, device: DeviceInfo): WeightDtype {
  if (role === "exact") return "f32";
  if (asked === "experts-int8" && role === "experts") return "q8";
  if (asked === "q4" && role === "fine") return "q8";
  if (asked !== "auto" && asked !== "experts-int8") return asked;
  // Where a device does not compute with it, f32 loses nothing.
  const held = [packedDtypeOf[stored], "f32" as const].find((dtype) => device.weightDtypes.includes(dtype));
  if (held) return held;
  throw new DtypeError(`dtype: expected one of ${device.weightDtypes.join(", ")} on ${device.name}, found ${stored}`);
}

/** @throws DtypeError when the device lacks what `asked` needs */
export function expectDtype(asked: LoadDtype, device: DeviceInfo): void {
  const needed: readonly WeightDtype[] =
    asked === "auto" ? [] : asked === "experts-int8" ? ["q8"] : asked === "q4" ? ["q4", "q8"] : [asked];
  if (needed.every((dtype) => device.weightDtypes.includes(dtype))) return;
  throw new DtypeError(`dtype: expected auto or one of ${device.weightDtypes.join(", ")}, found ${asked} on ${deviceText(device)}`);
}

export function expectKvDtype(asked: FloatDtype | undefined, device: DeviceInfo): void {
  if (asked === undefined || device.kvDtypes.includes(asked)) return;
  throw new DtypeError(`kvDtype: expected one of ${device.kvDtypes.join(", ")}, found ${asked} on ${deviceText(device)}`);
}

/** Who holds weights in f32 wants exact numbers; others get what the device likes best. */
export function defaultKvDtype(dtypes: readonly WeightDtype[], { kvDtypes }: DeviceInfo): FloatDtype {
  return kvDtypes.includes("f32") && dtypes.every((dtype) => dtype === "f32") ? "f32" : kvDtypes[0];
}

/** A device by name, and why "auto" had to take it: for errors about what it can't do. */
export function deviceText({ name, passedOver = [] }: DeviceInfo): string {
  return [name, ...passedOver].join("; ");
}
