// The one place that knows which backends there are.

import { type Backend, BackendError, type DeviceInfo, hasNode, JambaError, openReference } from "@jamba/core";

export type BackendName = "auto" | "cuda" | "webgpu" | "cpu" | "wasm" | "reference";

export interface DeviceStatus {
  readonly backend: Exclude<BackendName, "auto">;
  readonly usable: boolean;
  /** Why not, if it isn't. */
  readonly reason?: string;
  readonly device?: DeviceInfo;
}

interface OpenOptions {
  readonly threads?: number;
}

interface Entry {
  readonly backend: DeviceStatus["backend"];
  /** Opens it, or throws why it can't; absent from this version if there is none. */
  readonly open?: (options: OpenOptions) => Promise<Backend>;
  /** Whether "auto" expects it to work here; yes if not given. */
  readonly isExpected?: () => boolean;
  readonly slower?: OpenedBackend["slower"];
}

/** Fastest first: the order in which "auto" tries. */
const entries: readonly Entry[] = [
  { backend: "cuda" },
  { backend: "webgpu" },
  {
    backend: "cpu",
    open: async (options) => (await import("@jamba/backend-cpu")).openCpuBackend(options),
    // No page loads native code: nothing is passed over there.
    isExpected: hasNode,
  },
  { backend: "wasm", open: async (options) => (await import("@jamba/backend-cpu")).openWasmBackend(options), slower: "2 to 3 times" },
  { backend: "reference", open: async () => openReference(), slower: "15 to 40 times" },
];

const absent = "not part of this version of jamba";

/** Every backend, with its device or the reason why it can't be used here. */
export async function listDevices(): Promise<DeviceStatus[]> {
  return Promise.all(
    entries.map(async ({ backend, open }) => {
      if (!open) return { backend, usable: false, reason: absent };
      try {
        const opened = await open({});
        const { device } = opened;
        await opened.dispose();
        return { backend, usable: true, device };
      } catch (error) {
        return { backend, usable: false, reason: reasonOf(error) };
      }
    }),
  );
}

export interface OpenedBackend {
  readonly backend: Backend;
  /** Faster ones that should work and do not, each with its reason. */
  readonly passedOver: readonly string[];
  /** How much longer it takes than the native kernels of a processor, about; nothing for those. */
  readonly slower?: string;
}

/** @throws BackendError listing every backend with its reason; JambaError OPTION for a name that isn't one, or options that it can't take */
export async function openBackend(name: BackendName, options: OpenOptions = {}): Promise<OpenedBackend> {
  const wanted = entries.filter((entry) => name === "auto" || entry.backend === name);
  if (wanted.length === 0) {
    throw new JambaError(
      "OPTION",
      `backend: expected "auto" or one of ${entries.map((e) => e.backend).join(", ")}, found ${JSON.stringify(name)}`,
    );
  }
  const passedOver: string[] = [];
  for (const { backend, open, isExpected, slower } of wanted) {
    if (name === "auto" && isExpected?.() === false) continue;
    try {
      if (!open) continue;
      const opened = await open(options);
      return { backend: opened, passedOver, slower };
    } catch (error) {
      if (error instanceof JambaError && error.code === "OPTION") throw error;
      passedOver.push(`${backend} can't be used: ${reasonOf(error)}`);
    }
  }
  const all = (await listDevices()).map((d) => `${d.backend}: ${d.usable ? "usable" : d.reason}`);
  throw new BackendError(`backend: expected ${name} to be usable here, found: ${all.join("; ")}`);
}

/** A device by name, and why "auto" had to take it: for errors about what it can't do. */
export function deviceText({ name, passedOver = [] }: DeviceInfo): string {
  return [name, ...passedOver].join("; ");
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
