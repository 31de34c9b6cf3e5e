// The one place that knows which backends there are.

import { type Backend, BackendError, type DeviceInfo, JambaError, openReference } from "@jamba/core";

export type BackendName = "auto" | "cuda" | "webgpu" | "cpu" | "wasm" | "reference";

export interface DeviceStatus {
  readonly backend: Exclude<BackendName, "auto">;
  readonly usable: boolean;
  /** Why not, if it isn't. */
  readonly reason?: string;
  readonly device?: DeviceInfo;
}

interface Entry {
  readonly backend: DeviceStatus["backend"];
  /** Opens it, or says why it can't. */
  readonly open: () => Promise<Backend | string>;
}

const absent = async () => "not part of this version of jamba";

/** Fastest first: the order in which "auto" tries. */
const entries: readonly Entry[] = [
  { backend: "cuda", open: absent },
  { backend: "webgpu", open: absent },
  { backend: "cpu", open: absent },
  { backend: "wasm", open: absent },
  { backend: "reference", open: async () => openReference() },
];

/** Every backend, with its device or the reason why it can't be used here. */
export async function listDevices(): Promise<DeviceStatus[]> {
  return Promise.all(
    entries.map(async ({ backend, open }) => {
      const opened = await open();
      if (typeof opened === "string") return { backend, usable: false, reason: opened };
      const { device } = opened;
      await opened.dispose();
      return { backend, usable: true, device };
    }),
  );
}

/** @throws BackendError listing every backend with its reason, JambaError OPTION for a name that isn't one */
export async function openBackend(name: BackendName): Promise<Backend> {
  const wanted = entries.filter((entry) => name === "auto" || entry.backend === name);
  if (wanted.length === 0) {
    throw new JambaError(
      "OPTION",
      `backend: expected "auto" or one of ${entries.map((e) => e.backend).join(", ")}, found ${JSON.stringify(name)}`,
    );
  }
  for (const { open } of wanted) {
    const opened = await open();
    if (typeof opened !== "string") return opened;
  }
  const all = (await listDevices()).map((d) => `${d.backend}: ${d.usable ? "usable" : d.reason}`);
  throw new BackendError(`backend: expected ${name} to be usable here, found: ${all.join("; ")}`);
}
