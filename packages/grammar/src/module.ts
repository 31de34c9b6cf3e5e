// The compiled module and a memory for it, which threads share where the place allows that.

export interface GrammarModule {
  readonly module: WebAssembly.Module;
  /** Whether threads may share its memory: pages need cross-origin isolation for that, and some browsers have none. */
  readonly shared: boolean;
  newMemory(): WebAssembly.Memory;
}

let loaded: Promise<GrammarModule> | undefined;

/** Unpacked and compiled once. @throws what WebAssembly throws where there is none */
export function loadModule(): Promise<GrammarModule> {
  loaded ??= load(mayShare());
  loaded.catch(() => {
    loaded = undefined;
  });
  return loaded;
}

/** Exported for tests, which try both. */
export async function load(shared: boolean): Promise<GrammarModule> {
  const { default: packed } = await import("../module/grammar.wasm.gz");
  const stream = new Blob([packed as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const limits = memoryLimits(bytes);
  // The same instructions are valid on a memory of one's own: it is asked for as shared in this byte alone.
  if (!shared) bytes[limits.flagsAt] &= ~2;
  const module = await WebAssembly.compile(bytes);
  const { initial, maximum } = limits;
  return { module, shared, newMemory: () => new WebAssembly.Memory({ initial, maximum, shared }) };
}

function mayShare(): boolean {
  // In a page that is not isolated a shared memory can be made, but not handed to a worker.
  const isNode = typeof process === "object" && typeof process.versions?.node === "string";
  return typeof SharedArrayBuffer === "function" && (isNode || globalThis.crossOriginIsolated === true);
}

/** Of the memory that the module imports, in pages of 64 KiB, and where the byte of its flags is: 1 for a maximum, 2 for shared. */
function memoryLimits(bytes: Uint8Array): { flagsAt: number; initial: number; maximum: number } {
  let at = 8; // after the magic word and the version
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value >>> 0;
    }
  };
  const [imports, ofFunction] = [2, 0];
  while (bytes[at++] !== imports) {
    const size = number();
    at += size;
  }
  number(); // size of the section
  for (let count = number(); count > 0; count--) {
    for (let names = 0; names < 2; names++) {
      const length = number();
      at += length;
    }
    if (bytes[at++] === ofFunction) {
      number();
      continue;
    }
    const flagsAt = at++;
    return { flagsAt, initial: number(), maximum: number() };
  }
  throw new Error("grammar.wasm: expected a memory among its imports, found none");
}
