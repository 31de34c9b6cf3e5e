// The first token of the small model on a page that holds nothing yet, and where the time goes; all in ms since the navigation began.

import { loadModel } from "jamba";

const query = new URLSearchParams(location.search);
const marks: [what: string, ms: number][] = [];
const mark = (what: string) => marks.push([what, performance.now()]);

/** Looks at what jamba asks of the platform. */
function watch(): void {
  const { compile } = WebAssembly;
  WebAssembly.compile = async (bytes) => {
    const module = await compile(bytes);
    mark(`module of ${Math.round((bytes as Uint8Array).byteLength / 1024)} KiB compiled`);
    return module;
  };
  let workers = 0;
  const { Worker } = globalThis;
  globalThis.Worker = class extends Worker {
    constructor(url: string | URL) {
      super(url);
      const name = `worker ${++workers}`;
      mark(`${name} made`);
      this.addEventListener("message", () => mark(`${name} answers`), { once: true });
    }
  };
}

async function first() {
  watch();
  mark("the page's script runs");
  let reads = 0;
  const model = await loadModel(new URL("model/", location.href).href, {
    backend: "wasm",
    dtype: (query.get("dtype") ?? "auto") as "auto",
    formats: (query.get("formats") ?? "ready") as "ready",
    onProgress: () => {
      if (++reads === 1) mark("first weight there");
      lastRead = performance.now();
    },
  });
  marks.push(["last weight there", lastRead]);
  mark("model loaded");
  await model.generate("Once upon a time", { maxTokens: 1 });
  mark("first token");
  const fetched = performance
    .getEntriesByType("resource")
    .map((entry) => entry as PerformanceResourceTiming)
    .map(({ name, startTime, responseEnd, encodedBodySize }) => [
      new URL(name).pathname,
      Math.round(startTime),
      Math.round(responseEnd),
      encodedBodySize,
    ]);
  return { marks, fetched, device: model.device.features };
}
let lastRead = 0;

const cold = first();
(globalThis as { cold?: typeof cold }).cold = cold;
