// How much memory there is here, in Node and in a page.

/** Of the machine or, where there is one, the limit that its container sets. */
export async function machineMemory(): Promise<{ totalBytes: number; freeBytes: number; said: string }> {
  if (typeof process !== "undefined" && process.versions?.node) {
    const { totalmem, freemem } = await import("node:os");
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
