// The layout of matvecs: any of them is right, the fastest is taken, and what was found is kept.

import { findMismatch } from "@jamba/conformance";
import { openDevice } from "@jamba/core";
import { expect, test } from "vitest";
import { WebGpuDriver } from "../src/driver.ts";
import { openDriver } from "../src/open.ts";
import { defaultSweep } from "../src/sweep.ts";
import { fastestSweep, keepsHalves, remembered, sweeps } from "../src/tune.ts";
import { onAdapter } from "./adapter.ts";
import { spiedDevice } from "./spied-device.ts";

const K = 900;

onAdapter((adapter) => {
  const { gpu } = adapter;
  test.each(sweeps)("products are right with $threads threads, $lanes lanes, $rows rows", async (sweep) => {
    const { gpu: device, device: info, memory, products } = await openDriver({ gpu });
    const backend = openDevice(new WebGpuDriver(device, info, memory.mostBindingBytes, true, { ...products, sweep }));
    const mismatch = await findMismatch(
      {
        op: "layer",
        name: "norm, gate, up and down",
        steps: [[1]],
        weights: { norm: [K], gate: [150, K], up: [150, K], down: [K, 150] },
        exact: ["norm"],
        inputs: { x: K },
        build: (ops, { norm, gate, up, down }, { x }) => {
          const [g, u] = ops.matmul(ops.rmsNorm(x, norm, 1e-6), [gate, up]);
          ops.read("y", ops.matmul(ops.swiglu(g, u), [down], { addTo: x })[0]);
        },
      },
      "q4",
      backend,
    );
    expect(mismatch).toBeUndefined();
    await backend.dispose();
  });

  test("the fastest is taken, and the default where none is much faster", async () => {
    const driver = await openDriver({ gpu });
    const among = sweeps.slice(0, 3);
    const found = async (times: readonly number[]) => {
      let asked = 0;
      // Each is timed three times.
      const timeOf = async () => times[Math.floor(asked++ / 3)];
      return fastestSweep(driver.gpu, { among, mostMs: 10 ** 6, nProducts: 1, timeOf });
    };
    expect(await found([10, 11, 7])).toEqual(sweeps[2]);
    expect(await found([10, 9.9, 9.8])).toEqual(defaultSweep);
    await driver.interrupt();
    await driver.dispose();
  });

  test("what fails while layouts are tried leaves nothing on a caller's device", async () => {
    const { device, live } = await spiedDevice(adapter);
    const timeOf = () => Promise.reject(new Error("lost"));
    await expect(fastestSweep(device, { among: sweeps.slice(0, 1), mostMs: 10 ** 6, nProducts: 1, timeOf })).rejects.toThrow("lost");
    expect(live.size).toBe(0);
    device.destroy();
  });

  test("halves are taken as the device takes them", async () => {
    const driver = await openDriver({ gpu });
    expect(driver.products.keepsHalves).toBe(await keepsHalves(driver.gpu));
    await driver.interrupt();
    await driver.dispose();
  });
});

test("what was found about an adapter is found once, where there is a place to keep it", async () => {
  const kept = new Map<string, string>();
  const held = Object.getOwnPropertyDescriptor(globalThis, "localStorage");
  const localStorage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => kept.set(key, value) };
  Object.defineProperty(globalThis, "localStorage", { value: localStorage, configurable: true });
  try {
    let asked = 0;
    const find = async () => {
      asked++;
      return sweeps[3];
    };
    expect([await remembered("a", find), await remembered("a", find), await remembered("b", find)]).toEqual([
      sweeps[3],
      sweeps[3],
      sweeps[3],
    ]);
    expect(asked).toBe(2);
    kept.set([...kept.keys()][0], "spoilt");
    await remembered("a", find);
    expect(asked).toBe(3);
  } finally {
    if (held) Object.defineProperty(globalThis, "localStorage", held);
    else Reflect.deleteProperty(globalThis, "localStorage");
  }
});
