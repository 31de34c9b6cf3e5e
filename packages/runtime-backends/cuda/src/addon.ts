// The native addon as it is, typed, and where it lies. Addresses and handles of the driver are numbers: none is beyond 2^53.

import { BackendError, fromNode, hasNode, JambaError, type JambaErrorCode, packageFolders } from "@jamba/core";

/** A device. What is asked of it takes effect in that order; promises settle in it. Errors carry one of core's codes, or "ABORTED". */
export interface NativeDevice {
  /** @param driver a library in place of the system's; "" for that */
  open(driver: string, ordinal: number): Promise<DeviceFound>;
  /** @returns addresses of the kernels of a module in PTX */
  load(ptx: string, names: readonly string[]): Promise<Float64Array>;
  allocate(bytes: number, what: string): Promise<number>;
  /** An allocation or a range. */
  release(address: number): Promise<void>;
  /** Addresses without memory behind them. */
  reserve(bytes: number): Promise<number>;
  /** Puts memory behind the first `bytes` of a range, and takes it from what lies a whole piece behind them. @returns bytes that there are */
  map(address: number, bytes: number, what: string): Promise<number>;
  /**
   * Grows ranges, of which `needs` has the addresses and bytes by turns, writes, launches, and reads into `outputs` what lies one after another `from` there on. Waits for the end if it reads, and with a token,
   * which is not -1.
   */
  run(
    needs: readonly number[],
    to: number,
    bytes: Uint8Array | Int32Array,
    launches: Uint8Array,
    from: number,
    outputs: readonly ArrayBufferView[],
    token: number,
  ): Promise<void>;
  cancel(token: number): void;
  /** Bytes that are free, and all. */
  room(): Promise<Float64Array>;
  /** Runs that wait end as disposed; settles when the one that has begun is over. */
  interrupt(): Promise<void>;
  close(): Promise<void>;
}

export interface DeviceFound {
  readonly name: string;
  /** 1000 · major + 10 · minor, of the newest CUDA that it takes programs of. */
  readonly driverVersion: number;
  readonly major: number;
  readonly minor: number;
  readonly multiprocessors: number;
  readonly totalBytes: number;
}

export interface Addon {
  readonly Device: new () => NativeDevice;
}

/** The package's folder, and its addon. @throws BackendError with the reason: no Node, nothing built for this platform, or what does not load */
export async function loadAddon(): Promise<{ addon: Addon; folder: string }> {
  if (!hasNode())
    throw new BackendError("cuda backend: expected a runtime that loads native addons, such as Node; found none, as in browsers");
  const { createRequire } = await fromNode<typeof import("node:module")>("node:module");
  const { existsSync } = await fromNode<typeof import("node:fs")>("node:fs");
  const { join } = await fromNode<typeof import("node:path")>("node:path");
  const platform = `${process.platform}-${process.arch}`;
  const folders = await packageFolders("@jamba/backend-cuda", import.meta.url, typeof __filename === "string" ? __filename : undefined);
  const fileIn = (folder: string) => join(folder, "prebuilds", platform, "jamba-cuda.node");
  const folder = folders.find((one) => existsSync(fileIn(one)));
  if (folder === undefined)
    throw new BackendError(
      `cuda backend: expected an addon for ${platform} at ${folders.map(fileIn).join(" or ")}, found none; build it with a C++ compiler: node build-native.mjs in @jamba/backend-cuda`,
    );
  const file = fileIn(folder);
  try {
    return { addon: createRequire(file)(file) as Addon, folder };
  } catch (cause) {
    throw new BackendError(`cuda backend: expected ${file} to load, found: ${(cause as Error).message}`, { cause });
  }
}

/** The addon's errors as core's. */
export function toJambaError(error: unknown): unknown {
  const { code, message } = error as { code?: JambaErrorCode | "ABORTED"; message: string };
  if (error instanceof JambaError || code === undefined || code === "ABORTED") return error;
  return code === "BACKEND" ? new BackendError(message, { cause: error }) : new JambaError(code, message, { cause: error });
}
