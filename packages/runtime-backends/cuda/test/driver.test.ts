// What is no driver, and a device that is full.

import { HostTensor, record, runOnce, sourceOf } from "@jamba/core";
import { expect, test } from "vitest";
import { openCudaBackend } from "../src/index.ts";
import { onStandIn } from "./on-stand-in.ts";

onStandIn((driver) => {
  test("without a driver it says so, and what to do", async () => {
    const refused = { code: "BACKEND", message: expect.stringMatching(/expected NVIDIA's driver, found none .*install the driver/) };
    await expect(openCudaBackend({ driver: "/no/such/libcuda.so.1" })).rejects.toMatchObject(refused);
  });

  test("a device that is not there is refused, with how many there are", async () => {
    const refused = { code: "BACKEND", message: expect.stringMatching(/expected device 7, found 1 devices/) };
    await expect(openCudaBackend({ driver, device: 7 })).rejects.toMatchObject(refused);
  });

  test("what does not fit is OUT_OF_MEMORY, and changes nothing", async () => {
    process.env.JAMBA_STAND_IN_BYTES = String(2 ** 24);
    const backend = await openCudaBackend({ driver }).finally(() => delete process.env.JAMBA_STAND_IN_BYTES);
    const before = await backend.room();
    const large = { name: "large", dtype: "f32", shape: [2 ** 12, 2 ** 12], read: async () => new Uint8Array(0) } as const;
    await expect(backend.openWeight(large, "f32")).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(/^large/),
    });
    const layers = [{ kind: "attention", nKvHeads: 4, headDim: 64 }] as const;
    const states = await backend.createStates({ layers, pageTokens: 64, kvDtype: "f32" });
    await states.reserve(1, 2);
    await expect(states.reserve(1, 2 ** 10)).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
    expect(states.nPages).toBe(2);
    states.dispose();
    await expect.poll(async () => (await backend.room()).freeBytes).toBe(before.freeBytes);
    await backend.dispose();
  });

  test("a step's results are its own though the next one waits behind it", async () => {
    const backend = await openCudaBackend({ driver });
    const weight = await backend.openWeight(sourceOf("w", [2, 32], new Float32Array(64).fill(1)), "f32");
    const states = await backend.createStates({ layers: [], pageTokens: 64, kvDtype: "f32" });
    await states.reserve(1, 0);
    const list = record({ L: 1, nSequences: 1, nRows: 0 }, states.spec, (ops) =>
      ops.read("y", ops.matmul(ops.input("x", [1, 32]), [weight])[0]),
    );
    const step = (v: number) =>
      runOnce(backend, list, states, {
        ids: Int32Array.of(0),
        starts: Int32Array.of(0, 1),
        rows: new Int32Array(0),
        states: [{ slot: 0, pages: [], seen: 0 }],
        tensors: new Map([["x", new HostTensor("float32", new Float32Array(32).fill(v), [1, 32])]]),
      });
    const found = await Promise.all([1, 2, 3, 4].map(step));
    expect(found.map((values) => Array.from(values.get("y")!.data as Float32Array))).toEqual([32, 64, 96, 128].map((v) => [v, v]));
    await backend.dispose();
  });
});
