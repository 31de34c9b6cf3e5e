// What states on the disk need of the system, imported when they do: none of it is there in a browser.

import { fromNode, JambaError } from "@jamba/core";

export type Node = Awaited<ReturnType<typeof nodeModules>>;

/** @throws JambaError UNSUPPORTED */
export async function nodeModules() {
  try {
    const [files, { join }, { createHash }] = await Promise.all([
      fromNode<typeof import("node:fs/promises")>("node:fs/promises"),
      fromNode<typeof import("node:path")>("node:path"),
      fromNode<typeof import("node:crypto")>("node:crypto"),
    ]);
    return { ...files, join, createHash };
  } catch (cause) {
    throw new JambaError("UNSUPPORTED", "a cache of states needs a file system, which this runtime lacks", { cause });
  }
}
