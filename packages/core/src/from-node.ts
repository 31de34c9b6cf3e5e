// Node's own modules, out of the sight of bundlers: they would look for them in a page as well.

/** @param name such as "node:fs". @throws where there is no Node */
export function fromNode<Module>(name: string): Promise<Module> {
  return import(/* webpackIgnore: true */ /* turbopackIgnore: true */ /* @vite-ignore */ name);
}

/** Whether Node's modules are there, as in Bun and Deno too. */
export function hasNode(): boolean {
  return typeof process === "object" && !!process.versions?.node;
}

/**
 * Folders where a package of ours may lie that has files beside its code, the likeliest first. In itself, which a bundle of it is not: then it
 * is looked for from the bundle, from the program that was started and from where it runs, by itself and through those of ours that need it,
 * since no other is in sight where packages are kept apart.
 *
 * @param url `import.meta.url` of who asks, which bundles in CommonJS have not
 * @param filename `__filename` of who asks, which only those have
 */
export async function packageFolders(name: string, url: string | undefined, filename: string | undefined): Promise<string[]> {
  const { createRequire } = await fromNode<typeof import("node:module")>("node:module");
  const { dirname, isAbsolute, join } = await fromNode<typeof import("node:path")>("node:path");
  const { fileURLToPath } = await fromNode<typeof import("node:url")>("node:url");
  const resolved = (from: string, one: string) => {
    try {
      return createRequire(from).resolve(`${one}/package.json`);
    } catch {
      return undefined;
    }
  };
  // Not `new URL(…, import.meta.url)`: bundlers for browsers would take the files along.
  const here = url?.startsWith("file:") ? fileURLToPath(url) : undefined;
  const inCommonJs = filename !== undefined && isAbsolute(filename) ? filename : undefined;
  const folders = here ? [dirname(dirname(here))] : [];
  for (const from of [here, inCommonJs, process.argv[1], join(process.cwd(), "package.json")]) {
    if (from === undefined) continue;
    for (const start of [from, resolved(from, "jamba"), resolved(from, "@jamba/cli"), resolved(from, "@jamba/server")]) {
      const found = start && resolved(start, name);
      if (found) folders.push(dirname(found));
    }
  }
  return [...new Set(folders)];
}
