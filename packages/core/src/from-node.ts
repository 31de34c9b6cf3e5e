// Node's own modules, out of the sight of bundlers: they would look for them in a page as well.

/** @param name such as "node:fs". @throws where there is no Node */
export function fromNode<Module>(name: string): Promise<Module> {
  return import(/* webpackIgnore: true */ /* turbopackIgnore: true */ /* @vite-ignore */ name);
}

/** Whether Node's modules are there, as in Bun and Deno too. */
export function hasNode(): boolean {
  return typeof process === "object" && !!process.versions?.node;
}
