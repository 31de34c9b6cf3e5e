// The parts of Node that downloads need. Elsewhere, as in browsers, asking for them throws.

import { fromNode, JambaError } from "@jamba/core";

/** Files of this ending lie beside weights (kept-fingerprint.ts): they are no download. */
export const keptFingerprintSuffix = ".jamba-fingerprint.json";

export type Node = Awaited<ReturnType<typeof node>>;

/** @throws JambaError "UNSUPPORTED" where there is no file system */
export async function node() {
  try {
    // Awaited right inside the try: there bundlers for browsers warn, and put an empty module or a throw.
    const files = await fromNode<typeof import("node:fs/promises")>("node:fs/promises");
    const paths = await fromNode<typeof import("node:path")>("node:path");
    const os = await fromNode<typeof import("node:os")>("node:os");
    const net = await fromNode<typeof import("node:net")>("node:net");
    const { createHash, randomUUID } = await fromNode<typeof import("node:crypto")>("node:crypto");
    if (typeof files.stat !== "function") throw new TypeError("node:fs/promises is empty");
    return { files, paths, os, net, createHash, randomUUID };
  } catch (cause) {
    throw new JambaError(
      "UNSUPPORTED",
      "downloading from the hub needs a file system, which this runtime lacks; pass the URL of the repository's files, File objects or Blobs",
      { cause },
    );
  }
}

export function codeOf(error: unknown): string | undefined {
  return (error as { code?: string } | null)?.code;
}

/** For `catch`: nothing where a file is absent, and what was thrown otherwise. */
export function ifAbsent(error: unknown): undefined {
  if (codeOf(error) !== "ENOENT" && codeOf(error) !== "ENOTDIR") throw error;
}
