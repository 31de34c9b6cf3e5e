// Which module, how many threads, and why.

import { type Backend, BackendError, type DeviceInfo, JambaError, openDevice, openThread } from "@jamba/core";
import { expectSameNames } from "../addon.ts";
import { CpuDriver, cpuDevice, numericsOf } from "../driver.ts";
import { chosenThreads } from "../threads.ts";
import { ModuleExecutor, type OwnerPort } from "./executor.ts";
import { makeMemory } from "./instance.ts";
import { cancelPlaces, type OwnerMessage, type OwnerReply } from "./messages.ts";
import { compileModule, moduleWords, usableModules, type WasmLevel } from "./modules.ts";
import code from "./owner-code.ts?text";
import { dotsRatio } from "./probe-dots.ts";
import { parseNames, Sizes } from "./sizes.ts";

export interface WasmOptions {
  /** As many as `openCpuBackend` would take, or half of a browser's processors, if not given. One where memory can't be shared. */
  readonly threads?: number;
  /** The best that this engine runs, if not given. */
  readonly level?: WasmLevel;
}

/** Where a message must be looked at in the middle of a step, so that it can be cancelled. */
const sliceMs = 10;

/** A dot product of four is taken where it is right and takes at most so much of the time of one in two steps. */
const mostOfTwoSteps = 1.25;

/**
 * Opens the CPU backend's kernels as WebAssembly: the same C++, in browsers and wherever no native addon loads.
 *
 * @throws BackendError where there is no WebAssembly with SIMD, or no worker can be had; JambaError OPTION for a level that this engine does
 * not run or a count of threads that is none
 */
export async function openWasmBackend(options: WasmOptions = {}): Promise<Backend> {
  const usable = usableModules();
  if (options.level !== undefined && !usable.includes(options.level)) throw noLevel(options.level, usable);
  const sharing = sharedMemory();
  const { threads, why, warnings } = await threadsOf(options.threads, sharing);
  // While it is found out which module they shall run: a page takes as long to make a thread.
  let making: Making[] | undefined = makeThreads(sharing.posted ? threads : 1);
  // What forbids the probe forbids the module as well, which says so.
  const slow = options.level === undefined && usable.includes("relaxed-dot") ? await whySlow().catch(() => undefined) : undefined;
  const passedOver = slow === undefined ? [] : [`not relaxed-dot: ${slow}`];
  for (const level of options.level ? [options.level] : usable.slice(passedOver.length)) {
    const opened = await start(level, making ?? makeThreads(sharing.posted ? threads : 1), threads, sharing);
    making = undefined;
    if (opened.areDotsRight === false) {
      const reason = "this engine computes its dot products of four wrongly";
      opened.executor.stop();
      if (options.level) throw noLevel(options.level, usable.slice(1), `: ${reason}`);
      passedOver.push(`not ${level}: ${reason}`);
      continue;
    }
    const device: DeviceInfo = {
      kind: "wasm",
      name: `WebAssembly, ${moduleWords[level]}`,
      // simd128 gives the bits of the portable level, so that each takes the other's states for its own.
      numerics: numericsOf(level === "simd128" ? "cpu-portable" : `wasm-relaxed-${opened.roundsOnce ? "fused" : "split"}`),
      features: [`${level}: ${moduleWords[level]}`, ...whyNotMore(level, usable), ...passedOver, why],
      ...(warnings && { warnings }),
      threads,
      ...cpuDevice,
    };
    return openDevice(new CpuDriver(opened.names, opened.executor, device));
  }
  throw new BackendError(`wasm backend: expected a module that this engine computes rightly, found ${passedOver.join("; ")}`);
}

/** Whether memory can be shared with workers: in Node, and in pages that are isolated. */
function sharedMemory(): { made: boolean; posted: boolean } {
  try {
    const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const made = typeof SharedArrayBuffer === "function" && buffer instanceof SharedArrayBuffer;
    return { made: true, posted: made && (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated !== false };
  } catch {
    return { made: false, posted: false };
  }
}

async function threadsOf(
  asked: number | undefined,
  sharing: { posted: boolean },
): Promise<{ threads: number; why: string; warnings?: string[] }> {
  const chosen = await chosenThreads(asked);
  if (sharing.posted || chosen.threads === 1) return chosen;
  // WebKitGTK isolates a page and shares nothing all the same.
  if ((globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated !== false) {
    const why = "1 thread: this browser shares no memory with workers";
    return { threads: 1, why, warnings: [`wasm: ${why}; ${chosen.threads} threads would run in one that does`] };
  }
  const why = "1 thread: this page is not isolated, so that memory can't be shared with workers";
  const cure = "send the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp";
  return { threads: 1, why, warnings: [`wasm: ${why}; ${chosen.threads} threads would run with isolation: ${cure}`] };
}

interface Started {
  readonly executor: ModuleExecutor;
  readonly names: ReturnType<typeof parseNames>;
  readonly roundsOnce: boolean;
  readonly areDotsRight?: boolean;
}

/** A thread, and the first thing that it says. */
type Making = Promise<{ port: OwnerPort; reply: Promise<OwnerReply> }>;

function makeThreads(count: number): Making[] {
  const making = Array.from({ length: count }, makeThread);
  for (const one of making) one.catch(() => undefined); // heard of by who begins with it
  return making;
}

async function makeThread(): Making {
  const port = await openThread<OwnerMessage, OwnerReply>(code);
  const reply = new Promise<OwnerReply>((resolve, reject) => port.listen(resolve, reject));
  reply.catch(() => undefined); // heard of by who asks it for something
  return { port, reply };
}

async function start(
  level: WasmLevel,
  making: readonly Making[],
  threads: number,
  sharing: { made: boolean; posted: boolean },
): Promise<Started> {
  const begin = async (thread: number, message: OwnerMessage) => {
    const { port, reply } = await making[thread];
    port.post(message);
    return reply;
  };
  try {
    const module = await compileModule(level, sharing.made);
    const shared = sharing.posted ? makeMemory(true) : undefined;
    const slices = sharing.posted ? Number.POSITIVE_INFINITY : sliceMs;
    const reply = await begin(0, { open: { module, memory: shared?.memory, shared: sharing.made, threads, sliceMs: slices } });
    if (!("opened" in reply)) throw new Error(`expected it to open, found ${JSON.stringify(reply)}`);
    const { stacks, cancelWords, names: text, mostBytes, roundsOnce, areDotsRight } = reply.opened;
    await Promise.all(stacks.map((stack, i) => begin(i + 1, { join: { module, memory: shared!.memory, stack, thread: i + 1 } })));
    const ports = await Promise.all(making.map(async (one) => (await one).port));
    for (const port of ports) port.rest();
    const names = parseNames(text);
    expectSameNames(names, `the module ${level}`, "build-wasm.mjs");
    const executor = new ModuleExecutor(ports[0], ports.slice(1), {
      sizes: new Sizes(module, sharing.made, threads, names),
      mostBytes: shared?.mostBytes ?? mostBytes,
      cancelWords: shared && new Int32Array(shared.memory.buffer, cancelWords, cancelPlaces),
    });
    return { executor, names, roundsOnce, areDotsRight };
  } catch (cause) {
    await Promise.all(making.map((one) => one.then(({ port }) => port.end()).catch(() => undefined)));
    if (cause instanceof JambaError) throw cause;
    throw new BackendError(`wasm backend: expected workers that run the module ${level}, found: ${(cause as Error)?.message ?? cause}`, {
      cause,
    });
  }
}

function noLevel(asked: WasmLevel, usable: readonly WasmLevel[], why = ""): JambaError {
  return new JambaError("OPTION", `level: expected one that this engine runs (${usable.join(", ")}), found ${JSON.stringify(asked)}${why}`);
}

/** Why the module with dot products of four is not worth fetching; who asks for it by name gets it. */
async function whySlow(): Promise<string | undefined> {
  const ratio = await dotsRatio();
  return ratio > mostOfTwoSteps ? `this engine's dot products of four take ${ratio.toFixed(1)} times as long as two steps` : undefined;
}

function whyNotMore(level: WasmLevel, usable: readonly WasmLevel[]): string[] {
  return usable.includes("relaxed") || level !== "simd128" ? [] : ["not relaxed: this engine lacks relaxed SIMD"];
}
