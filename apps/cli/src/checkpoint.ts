import { createRequire } from "node:module";
import { dirname } from "node:path";
import { type Checkpoint, openCheckpoint } from "@jamba/loader";
import type { FlagValues } from "./flags.ts";

/** Headers and small files of a model; "tiny" is the one that comes with this command. */
export function checkpointOf(source: string, flags: FlagValues): Promise<Checkpoint> {
  const offline = flags.offline as boolean | undefined;
  if (source !== "tiny") return openCheckpoint(source, { offline });
  return openCheckpoint(dirname(createRequire(import.meta.url).resolve("@jamba/tiny-model/package.json")));
}
