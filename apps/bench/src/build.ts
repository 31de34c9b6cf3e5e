// jamba as this app is built with, or as another checkout of it was built.

import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

export interface Build {
  readonly jamba: typeof import("jamba");
  readonly cpu: typeof import("@jamba/backend-cpu");
}

/**
 * Only what is public is used, so that other versions will do.
 * @param from a checkout in which `bench` has been built
 */
export async function openBuild(from?: string): Promise<Build> {
  if (from === undefined) return { jamba: await import("jamba"), cpu: await import("@jamba/backend-cpu") };
  const { resolve: find } = createRequire(join(resolve(from), "apps/bench/package.json"));
  const open = (name: string) =>
    import(pathToFileURL(find(name)).href).catch((cause) => {
      throw new Error(`${from}: expected a checkout with ${name} built, found none; run bench --help in it`, { cause });
    });
  return { jamba: await open("jamba"), cpu: await open("@jamba/backend-cpu") };
}
