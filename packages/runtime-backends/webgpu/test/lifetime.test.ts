// A device that is gone at any stage, and one that is a caller's: errors with their codes, everything given back, a working reopen.

import { type Backend, HostTensor, type JambaError, record, sourceOf } from "@jamba/core";
import { describe, expect, test } from "vitest";
import { openWebGpuBackend } from "../src/index.ts";
import { onAdapter } from "./adapter.ts";
import { type Spied, spiedDevice } from "./spied-device.ts";

const [L, columns, nCommands] = [16, 40, 60];

/** A weight, states and a program, and steps of it. */
async function used(backend: Backend) {
  const values = Float32Array.from({ length: columns * columns }, (_, i) => (i % 7) / 100);
  const weight = await backend.openWeight(sourceOf("w", [columns, columns], values), "q8");
  const layers = [{ kind: "attention", nKvHeads: 1, headDim: columns }] as const;
  const store = await backend.createStates({ layers, pageTokens: 4, kvDtype: "f16" });
  await store.reserve(1, 8);
  const list = record({ L, nSequences: 1, nRows: 0 }, store.spec, (ops) => {
    let x = ops.input("x", [L, columns]);
    const [state] = ops.states;
    if (state.kind === "attention") x = ops.attention(x, x, x, state);
    for (let i = 0; i < nCommands; i++) [x] = ops.matmul(x, [weight]);
    ops.read("y", x);
    ops.keep("kept", x);
  });
  const program = await backend.prepare(list, store);
  const address = { slot: 0, pages: [0, 1, 2, 3], seen: 0 };
  const x = new HostTensor(new Float32Array(L * columns).fill(0.5), [L, columns]);
  const inputs = { ids: new Int32Array(L), starts: Int32Array.of(0, L), rows: new Int32Array(0), states: [address] };
  return { store, address, submit: () => backend.submit(program, { ...inputs, tensors: new Map([["x", x]]) }) };
}

/** Something that is under way when the device goes; what it gives must reject. */
type Stage = (backend: Backend, all: Awaited<ReturnType<typeof used>>, spied: Spied, end: () => unknown) => Promise<unknown>[];
const stages: readonly (readonly [name: string, stage: Stage])[] = [
  [
    "before a step",
    (backend, { submit }, _, end) => {
      end();
      return [
        Promise.resolve()
          .then(submit)
          .then(({ done }) => done),
        backend.createStates({ layers: [], pageTokens: 4, kvDtype: "f32" }),
      ];
    },
  ],
  [
    "during a step",
    (_, { submit }, __, end) => {
      const { done } = submit();
      end();
      return [done];
    },
  ],
  [
    "between submits",
    (_, { submit }, spied, end) => {
      const from = spied.counts.submits;
      spied.onSubmit = () => {
        if (spied.counts.submits === from + 2) end();
      };
      return [submit().done];
    },
  ],
  [
    "during a readback",
    (_, { submit }, __, end) => {
      const kept = submit().read("kept");
      setTimeout(end);
      return [kept];
    },
  ],
  [
    "while a state is read",
    (backend, { store, address, submit }, _, end) => {
      void submit();
      const read = async () => {
        for await (const _ of backend.readState(store, { ...address, seen: L }));
      };
      const reading = read();
      end();
      return [reading];
    },
  ],
  [
    "during a load",
    (backend, _, __, end) => {
      const source = {
        ...{ name: "large", shape: [4000, 256], dtype: "f32" as const },
        read: async (from: number, to: number) => {
          end();
          return new Uint8Array((to - from) * 256 * 4);
        },
      };
      return [backend.openWeight(source, "q4")];
    },
  ],
];

onAdapter((adapter) => {
  describe.each(stages)("a device that goes %s", (_, stage) => {
    test.each([
      ["is lost", "DEVICE_LOST"],
      ["is disposed", "DISPOSED"],
    ])("%s: rejects with code %s, and can be opened again", async (how, code) => {
      const spied = await spiedDevice(adapter);
      spied.slowMs = 5;
      const backend = await openWebGpuBackend({ device: spied.device });
      const all = await used(backend);
      let ended: unknown;
      const end = () => {
        ended ??= how === "is lost" ? spied.device.destroy() : backend.dispose();
      };
      for (const one of stage(backend, all, spied, end)) {
        const error = await one.then(
          () => "nothing was thrown",
          (error: JambaError) => error.code,
        );
        expect(error).toBe(code);
      }
      await ended;
      if (how === "is lost") expect(await backend.lost).toMatchObject({ code });
      await backend.dispose();
      // What was being made when the device was lost went with it.
      if (how === "is disposed") {
        expect(spied.live.size).toBe(0);
        spied.device.destroy();
      }
      const again = await openWebGpuBackend({ gpu: adapter.gpu });
      expect((await (await used(again)).submit().read("y")).data.length).toBe(L * columns);
      await again.dispose();
    });
  });

  test("a caller's device is shared by two backends, and goes on when they are disposed, with nothing left on it but kernels", async () => {
    const spied = await spiedDevice(adapter);
    const backends = await Promise.all([1, 2].map(() => openWebGpuBackend({ device: spied.device })));
    const [a, b] = await Promise.all(backends.map(async (backend) => (await used(backend)).submit().read("y")));
    expect(a.data).toEqual(b.data);
    const { compiled } = spied.counts;
    await backends[0].dispose();
    expect(spied.live.size).toBeGreaterThan(0);
    await backends[1].dispose();
    expect(spied.live.size).toBe(0);
    expect(spied.destroyed).toBe(false);
    const again = await openWebGpuBackend({ device: spied.device });
    expect((await (await used(again)).submit().read("y")).data).toEqual(a.data);
    expect(spied.counts.compiled).toBe(compiled);
    await again.dispose();
    spied.device.destroy();
  });
});
