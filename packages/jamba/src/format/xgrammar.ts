// Loads xgrammar, and keeps what it gets wrong to itself: its errors end up here as text.

import { BackendError, JambaError } from "@jamba/core";

export type Xgrammar = typeof import("@mlc-ai/web-xgrammar");

/** The library, and what it said since it was last asked. */
export interface Instance {
  readonly library: Xgrammar;
  failures: number;
  readonly said: string[];
}

/** It has no exceptions: where it breaks off its stack of 64 KiB stays as it was, and after about forty times it is full. */
const maxFailures = 8;

/**
 * In Node a fresh instance. In a page there is but one.
 *
 * The package is a UMD file that calls itself an ES module: Node's import finds no `module` and no `require` in it and fails, and
 * some bundlers leave its names on globalThis. So Node gets it compiled as the function body that it is.
 */
export async function loadXgrammar(): Promise<Instance> {
  if (typeof process === "object" && typeof process.versions?.node === "string") return start(await compileForNode());
  inPage ??= import("@mlc-ai/web-xgrammar").then((module) => start(fromModule(module)));
  return inPage;
}

let inPage: Promise<Instance> | undefined;

async function start(library: Xgrammar): Promise<Instance> {
  const said: string[] = [];
  // The module takes hold of console once, when it starts, within this call.
  const { log, error } = console;
  const listen = (...words: unknown[]) => void said.push(words.join(" "));
  Object.assign(console, { log: listen, error: listen });
  let started: Promise<{ dispose(): void }>;
  try {
    started = library.Grammar.builtinJSONGrammar();
  } finally {
    Object.assign(console, { log, error });
  }
  (await started).dispose();
  return { library, failures: 0, said };
}

async function compileForNode(): Promise<Xgrammar> {
  const [{ createRequire }, { readFile }, { compileFunction }] = await Promise.all([
    import("node:module"),
    import("node:fs/promises"),
    import("node:vm"),
  ]);
  const require = createRequire(import.meta.url);
  const filename = require.resolve("@mlc-ai/web-xgrammar");
  const exports = {};
  // Without `process` it takes itself to be in no known place, and gets by with what every place has.
  const names = ["exports", "module", "require", "__filename", "process"];
  compileFunction(await readFile(filename, "utf8"), names, { filename })(exports, { exports }, require, filename, undefined);
  return exports as Xgrammar;
}

function fromModule(module: object): Xgrammar {
  const places = [module, (module as { default?: object }).default, (globalThis as { xgrammar?: object }).xgrammar];
  const found = places.find((place) => place && "GrammarCompiler" in place);
  if (!found) throw new BackendError("format: expected @mlc-ai/web-xgrammar with a GrammarCompiler, found none; was it bundled as it is?");
  return found as Xgrammar;
}

/**
 * Runs what may fail for its input.
 *
 * @throws JambaError OPTION with the library's own reason
 */
export async function guard<T>(instance: Instance, what: string, run: (library: Xgrammar) => Promise<T>): Promise<T> {
  if (isWorn(instance))
    throw new BackendError(
      `${what}: expected a grammar compiler that works, found one that wrong grammars have worn out; load the page again`,
    );
  instance.said.length = 0;
  try {
    return await run(instance.library);
  } catch (cause) {
    // A grammar too deep for the stack leaves most of it behind at once.
    instance.failures += cause instanceof RangeError ? maxFailures : 1;
    throw new JambaError(
      "OPTION",
      `${what}: expected one that xgrammar can compile, found one that it refuses: ${reasonOf(instance, cause)}`,
      {
        cause,
      },
    );
  }
}

/** Whether it failed so often that it can't be trusted. */
export function isWorn({ failures }: Instance): boolean {
  return failures >= maxFailures;
}

/** "[FATAL] /a/path/of/theirs.cc:12: Reason" and "Aborted()" say one thing. */
function reasonOf({ said }: Instance, cause: unknown): string {
  const reasons = said.filter((line) => line.startsWith("[FATAL]")).map((line) => line.replace(/^\[FATAL\] \S+:\d+: /, ""));
  return reasons.at(-1) ?? (cause instanceof Error ? cause.message : "no reason given");
}
