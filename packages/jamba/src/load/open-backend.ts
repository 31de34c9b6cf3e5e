// The one place that knows which backends there are.

import { type Backend, BackendError, type DeviceInfo, type FloatDtype, hasNode, JambaError, openReference } from "@jamba/core";
import { expectDtype, expectKvDtype, type LoadDtype } from "./device-dtypes.ts";

export type BackendName = "auto" | "cuda" | "webgpu" | "cpu" | "wasm" | "reference";

export interface DeviceStatus {
  readonly backend: Exclude<BackendName, "auto">;
  readonly usable: boolean;
  /** Why not, if it isn't. */
  readonly reason?: string;
  readonly device?: DeviceInfo;
}

/** What a device is opened for. */
export interface Wanted {
  readonly threads?: number;
  readonly dtype?: LoadDtype;
  readonly kvDtype?: FloatDtype;
  /** Weights that are packed, or to be packed or put in blocks. */
  readonly packs?: boolean;
  /** Those that were tried for the same model before and failed, each with its reason. */
  readonly failed?: readonly Failed[];
}

export interface Failed {
  readonly backend: DeviceInfo["kind"];
  readonly reason: string;
}

interface Entry {
  readonly backend: DeviceStatus["backend"];
  /** Opens it, or throws why it can't. */
  readonly open: (options: Pick<Wanted, "threads">) => Promise<Backend>;
  /** Whether "auto" looks for it here at all; yes if not given. */
  readonly isHere?: () => boolean;
  /** Why "auto" does not try it here, for this. */
  readonly whyNot?: (wanted: Wanted) => Promise<string | undefined>;
  /** What "auto" asks of it once it is open: throws what it can't do. */
  readonly expectFit?: (device: DeviceInfo, wanted: Wanted) => void;
  readonly slower?: OpenedBackend["slower"];
}

/** Fastest first: the order in which "auto" tries. */
const entries: readonly Entry[] = [
  {
    backend: "cuda",
    open: async () => (await import("@jamba/backend-cuda")).openCudaBackend(),
    // By name alone, until it has run on hardware.
    isHere: () => false,
  },
  {
    backend: "webgpu",
    open: async () => (await import("@jamba/backend-webgpu")).openWebGpuBackend(),
    whyNot: async ({ threads, packs }) => {
      if (threads !== undefined) return "threads are a processor's";
      if (packs) return "it packs no weights, and takes none that are packed";
      return (await whyNoAdapter()) ?? (await import("@jamba/backend-webgpu")).whyNoRealGpu();
    },
    expectFit: (device, { dtype = "auto", kvDtype }) => {
      expectDtype(dtype, device);
      expectKvDtype(kvDtype, device);
    },
  },
  {
    backend: "cpu",
    open: async (options) => (await import("@jamba/backend-cpu")).openCpuBackend(options),
    // No page loads native code.
    isHere: hasNode,
  },
  { backend: "wasm", open: async (options) => (await import("@jamba/backend-cpu")).openWasmBackend(options), slower: "2 to 3 times" },
  { backend: "reference", open: async () => openReference(), slower: "15 to 40 times" },
];

/** Every backend, with its device or the reason why it can't be used here. */
export async function listDevices(): Promise<DeviceStatus[]> {
  return Promise.all(
    entries.map(async ({ backend, open }) => {
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
  /** Faster ones that nobody expects to work here, each with why. */
  readonly notTried?: readonly string[];
  /** How much longer it takes than the native kernels of a processor, about; nothing for those. */
  readonly slower?: string;
}

/** @throws BackendError listing every backend with its reason; JambaError OPTION for a name that isn't one, or options that it can't take */
export async function openBackend(name: BackendName, wanted: Wanted = {}): Promise<OpenedBackend> {
  const named = entries.filter((entry) => name === "auto" || entry.backend === name);
  if (named.length === 0) {
    throw new JambaError(
      "OPTION",
      `backend: expected "auto" or one of ${entries.map((e) => e.backend).join(", ")}, found ${JSON.stringify(name)}`,
    );
  }
  const { failed = [] } = wanted;
  const passedOver = failed.map(({ backend, reason }) => `${backend} is passed over: ${reason}`);
  const notTried: string[] = [];
  for (const { backend, open, isHere, whyNot, expectFit, slower } of named) {
    try {
      if (failed.some((one) => one.backend === backend)) continue;
      if (name === "auto" && isHere?.() === false) continue;
      const why = name === "auto" ? await whyNot?.(wanted) : undefined;
      if (why) {
        notTried.push(`${backend} was not tried: ${why}`);
        continue;
      }
      const opened = await open({ threads: wanted.threads });
      if (name === "auto") await expectFits(opened, () => expectFit?.(opened.device, wanted));
      return { backend: opened, passedOver, notTried, slower };
    } catch (error) {
      if (error instanceof JambaError && error.code === "OPTION") throw error;
      passedOver.push(`${backend} can't be used: ${reasonOf(error)}`);
    }
  }
  const all = (await listDevices()).map((d) => `${d.backend}: ${d.usable ? "usable" : d.reason}`);
  throw new BackendError(`backend: expected ${name} to be usable here, found: ${all.join("; ")}`);
}

/** Closes what does not fit. */
async function expectFits(opened: Backend, expectFit: () => void): Promise<void> {
  try {
    expectFit();
  } catch (error) {
    await opened.dispose();
    throw error;
  }
}

/** Without loading anything: pages whose browser gives no adapter fetch none of it. */
async function whyNoAdapter(): Promise<string | undefined> {
  if (hasNode()) return undefined;
  const page = globalThis.navigator as { gpu?: { requestAdapter(options: object): Promise<object | null> } } | undefined;
  if (!page?.gpu) return "this browser has no WebGPU, or the page is not served over HTTPS";
  const adapter = await page.gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  return adapter ? undefined : "the browser gives no adapter: it knows no GPU here that it lets a page use";
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
