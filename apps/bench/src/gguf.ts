// Writes a GGUF v3 file of a Jamba with random weights, for the peer to load.

import { closeSync, openSync, renameSync, writeSync } from "node:fs";
import type { JambaConfig } from "jamba";
import { ggufParts } from "./gguf-parts.ts";
import type { Format } from "./presets.ts";

export function writeGguf(path: string, config: JambaConfig, format: Format, name: string): void {
  const partial = `${path}.partial`;
  const file = openSync(partial, "w");
  try {
    for (const part of ggufParts(config, format, name)) writeSync(file, part);
  } finally {
    closeSync(file);
  }
  renameSync(partial, path);
}
