// Which packages of this repository another one needs.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
// @ts-expect-error plain JavaScript, so that it runs without a build
import { packageFolders } from "./deps.mjs";

export interface Manifest {
  name: string;
  private?: boolean;
  bin?: Record<string, string>;
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

export const root = fileURLToPath(new URL("../../", import.meta.url));

/** Of what is published, by folder. */
export const folders: ReadonlyMap<string, Manifest> = new Map(
  packageFolders(root)
    .map((folder: string) => [folder, JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))] as const)
    .filter(([, manifest]: [string, Manifest]) => !manifest.private),
);
export const manifests: readonly Manifest[] = [...folders.values()];

/** The packages of this repository that `name` needs, itself included. */
export function needs(name: string, found = new Set<string>()): Set<string> {
  if (found.has(name)) return found;
  found.add(name);
  const { dependencies = {}, peerDependencies = {} } = manifests.find((manifest) => manifest.name === name)!;
  for (const other of Object.keys({ ...dependencies, ...peerDependencies }))
    if (manifests.some((manifest) => manifest.name === other)) needs(other, found);
  return found;
}
