// How much memory there is for backends that compute in the host's own, in Node and in a page.

import { fromNode, hasNode } from "../from-node.ts";
import type { Room } from "./backend.ts";

/** Of the machine or, where there is one, the limit that its container sets. */
export async function hostRoom(): Promise<Room> {
  if (hasNode()) {
    const { totalmem, freemem } = await fromNode<typeof import("node:os")>("node:os");
    const limit = process.constrainedMemory();
    const totalBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
    // macOS leaves next to nothing free, and frees what it keeps when it is asked for more.
    if (process.platform === "darwin") return { totalBytes, freeBytes: totalBytes, said: "within all of this machine's memory" };
    const freeBytes = Math.min(totalBytes, process.availableMemory?.() ?? freemem());
    return { totalBytes, freeBytes, said: "within what is free here at this moment" };
  }
  const { deviceMemory } = globalThis.navigator as { deviceMemory?: number };
  // A page can't use more than 4 GiB where memory is WebAssembly's.
  const bytes = Math.min(deviceMemory ?? 4, 4) * 2 ** 30;
  return { totalBytes: bytes, freeBytes: bytes, said: `within ${bytes} bytes, which a page may use` };
}
