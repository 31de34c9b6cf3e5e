// The server that is asked, in a process of its own: how long at a time its event loop had no turn, and how much of that its thread was running.

import { fileURLToPath } from "node:url";
import { serve } from "@jamba/server";
import { loadModel } from "jamba";
import { mainThreadMs, peakBytes, resetPeak } from "../machine.ts";

export interface Gap {
  readonly ms: number;
  /** Of the worst gap by it: a busy machine does not change it. */
  readonly busyMs: number;
  readonly peakMb: number;
}

const model = await loadModel(fileURLToPath(new URL("../../../packages/tiny-model", import.meta.url)), {
  backend: "cpu",
  contextLength: 32_768,
});
const server = await serve(model, "tiny", { port: 0, log: () => undefined, maxQueue: 4096, requestTimeoutMs: 60_000 });

let [last, lastBusy, worst] = [performance.now(), mainThreadMs(), { ms: 0, busyMs: 0 }];
/** Milliseconds between two looks; what takes no longer is no gap. */
const every = 2;
setInterval(() => {
  const [now, busy] = [performance.now(), mainThreadMs()];
  worst = { ms: Math.max(worst.ms, now - last - every), busyMs: Math.max(worst.busyMs, busy - lastBusy) };
  [last, lastBusy] = [now, busy];
}, every);

process.on("message", (what) => {
  if (what === "begin") {
    worst = { ms: 0, busyMs: 0 };
    resetPeak();
    process.send!("begun");
  } else process.send!({ ...worst, peakMb: peakBytes() / 1e6 } satisfies Gap);
});
process.once("disconnect", () => process.exit());
process.send!({ url: server.url });
