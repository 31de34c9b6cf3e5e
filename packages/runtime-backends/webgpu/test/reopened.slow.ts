// Fifty loads and disposals: nothing is left on the device, and the process does not grow.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { cases, findMismatch } from "@jamba/conformance";
import { expect, test } from "vitest";
import { openWebGpuBackend } from "../src/index.ts";
import { onAdapter } from "./adapter.ts";
import { spiedDevice } from "./spied-device.ts";

setFlagsFromString("--expose_gc");
const collect: () => void = runInNewContext("gc");

onAdapter((adapter) => {
  test("50 loads and disposals leave no buffer, and memory as it was after the first ones", async () => {
    const spied = await spiedDevice(adapter);
    const layers = cases.filter(({ op, name }) => op === "layer" && !name.includes("experts"));
    const residents: number[] = [];
    for (let i = 0; i < 50; i++) {
      const backend = await openWebGpuBackend({ device: spied.device });
      for (const one of layers) expect(await findMismatch(one, "f32", backend)).toBeUndefined();
      await backend.dispose();
      expect(spied.live.size).toBe(0);
      for (let turn = 0; turn < 3; turn++) {
        collect();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      residents.push(process.memoryUsage().rss);
    }
    const mean = (from: number, to: number) => residents.slice(from, to).reduce((a, b) => a + b, 0) / (to - from);
    // Of 30 more loads, each of which takes some MB of weights, states and compiled kernels.
    expect(mean(45, 50) - mean(15, 20)).toBeLessThan(32 * 2 ** 20);
    spied.device.destroy();
  });
});
