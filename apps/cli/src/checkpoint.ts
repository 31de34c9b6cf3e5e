import { createRequire } from "node:module";
import { dirname } from "node:path";
import { type Checkpoint, openCheckpoint } from "@jamba/loader";

/** Headers and small files of a model; "tiny" is the one that comes with this command. */
export function checkpointOf(source: string): Promise<Checkpoint> {
  return openCheckpoint(source === "tiny" ? dirname(createRequire(import.meta.url).resolve("@jamba/tiny-model/package.json")) : source);
}
