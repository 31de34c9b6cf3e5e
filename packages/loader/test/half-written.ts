// A process of its own for quantize.test.ts: writes half a file, says so, and waits to be killed.

import { writeSync } from "node:fs";
import { quantize } from "../src/quantize.ts";

const [source, out] = process.argv.slice(1);

await quantize(source, out, {
  dtype: "bf16",
  onProgress({ doneBytes, totalBytes }) {
    if (2 * doneBytes < totalBytes) return;
    writeSync(1, "half");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
});
