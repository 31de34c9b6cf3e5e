// When "auto" takes a GPU, when it passes over one, and what it says.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type FoundAdapter, findAdapter } from "../../../../tooling/software-gpu/src/adapter.ts";
import { cpuAbsent, goldenFolder } from "../../test/golden.ts";
import { prepareModel } from "../convert/prepare.ts";
import { planMemory } from "../plan/plan-memory.ts";
import { loadModel } from "./load-model.ts";
import { listDevices } from "./open-backend.ts";

afterEach(() => vi.unstubAllGlobals());

const folder = goldenFolder("one-token");
const found = await findAdapter();

interface Adapter {
  readonly info: object;
  requestDevice(options?: object): Promise<object>;
}

/** `of` with some things replaced; its methods and setters see itself. */
function like<T extends object>(of: T, replaced: Partial<Record<string, unknown>>): T {
  return new Proxy(of, {
    get: (target, key) => {
      if (typeof key === "string" && key in replaced) return replaced[key];
      const value = target[key as keyof T];
      return typeof value === "function" ? value.bind(target) : value;
    },
    set: (target, key, value) => Reflect.set(target, key, value, target),
  });
}

/** As a page whose browser has this. */
const inPage = (gpu: object | undefined) => vi.stubGlobal("navigator", { gpu });

/** The same adapter that says of itself that it is no software. */
function asReal({ gpu }: FoundAdapter, requestDevice?: Adapter["requestDevice"]): object {
  const info = { vendor: "acme", architecture: "roadrunner", device: "", description: "Acme 9000", isFallbackAdapter: false };
  return {
    async requestAdapter(options?: object): Promise<Adapter> {
      const adapter: Adapter = await gpu.requestAdapter(options);
      const device = async (options?: object) => like(await adapter.requestDevice(options), { adapterInfo: info });
      return like(adapter, { info, requestDevice: requestDevice ?? device });
    },
  };
}

async function loaded(options: Parameters<typeof loadModel>[1], source = folder) {
  const heard: string[] = [];
  await using model = await loadModel(source, { onWarning: (warning) => heard.push(warning), ...options });
  const { kind, notTried } = model.device;
  return { kind, heard, notTried };
}

describe("where there is no GPU", () => {
  const answering = (requestAdapter: () => Promise<null>) => ({ requestAdapter });
  const noAdapter = /^webgpu was not tried: expected an adapter, found none/;
  test.for<[string, object | undefined, RegExp]>([
    // Node then asks its package, of which the system gives what it has.
    ["no WebGPU", undefined, /^webgpu was not tried: /],
    ["no adapter", answering(async () => null), noAdapter],
    ["one that fails", answering(() => Promise.reject(new Error("gone"))), noAdapter],
  ])("auto takes a processor, warns of nothing, and the device says why: %s", async ([_, gpu, why], { skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    inPage(gpu);
    const notTried = [expect.stringMatching(why)];
    expect(await loaded({})).toEqual({ kind: "cpu", heard: [], notTried });
    expect((await planMemory(folder)).assumptions).toEqual(expect.arrayContaining(notTried));
  });

  test("by name the error says what to do", async () => {
    inPage({ requestAdapter: async () => null });
    await expect(loadModel(folder, { backend: "webgpu" })).rejects.toMatchObject({
      code: "BACKEND",
      message: expect.stringMatching(/expected webgpu to be usable here, found: .*webgpu: .*adapter/),
    });
  });
});

if (typeof found === "string") test("adapters", ({ skip }) => skip(found));
else describe(`on ${found.name}`, () => testOn(found));

function testOn(found: FoundAdapter): void {
  const isSoftware = found.name !== "system";

  test("auto passes over a processor that plays a GPU and the device says so, and by name it comes with a warning", async ({ skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    if (!isSoftware) skip("JAMBA_VULKAN names an adapter that may be real");
    inPage(found.gpu);
    const notTried = [expect.stringMatching(/^webgpu was not tried: (SwiftShader|llvmpipe).* is an adapter in software/)];
    expect(await loaded({})).toEqual({ kind: "cpu", heard: [], notTried });
    expect(await loaded({ backend: "webgpu" })).toEqual({ kind: "webgpu", heard: [expect.stringMatching(/^webgpu: .*software/)] });
    const status = (await listDevices()).find(({ backend }) => backend === "webgpu")!;
    expect(status).toMatchObject({ usable: true, device: { kind: "webgpu", warnings: [expect.stringMatching(/software/)] } });
  });

  test("auto takes a GPU, and a processor for who asks for threads, for packed weights and for files", async ({ skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    inPage(asReal(found));
    expect(await loaded({ contextLength: 16 })).toEqual({ kind: "webgpu", heard: [] });
    expect(await loaded({ threads: 1 })).toEqual({ kind: "cpu", heard: [], notTried: ["webgpu was not tried: threads are a processor's"] });
    expect(await planMemory(folder)).toMatchObject({ backend: "webgpu" });
    const to = await mkdtemp(join(tmpdir(), "prepared-"));
    try {
      const prepared = join(to, "model");
      await prepareModel(folder, prepared, { dtype: "q8" });
      const passed = "webgpu takes no prepared weights: load the model that they were made from to have it on Acme 9000";
      expect(await loaded({}, prepared)).toMatchObject({ kind: "cpu", heard: [passed] });
      expect(await planMemory(prepared)).toMatchObject({ backend: "cpu" });
      await expect(loadModel(prepared, { backend: "webgpu" })).rejects.toMatchObject({ code: "BACKEND" });
    } finally {
      await rm(to, { recursive: true });
    }
  }, 300_000); // an adapter in software compiles all kernels of a step

  test("auto passes over a GPU that does not work, and says why", async ({ skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    inPage(asReal(found, async () => Promise.reject(new Error("no device today"))));
    const { kind, heard } = await loaded({});
    expect([kind, heard]).toEqual(["cpu", [expect.stringMatching(/^webgpu can't be used: .*no device today/)]]);
  });

  describe("a model that a GPU does not take", () => {
    /** Devices that were asked for, whose buffers are counted; `fail` is called at each buffer. */
    function failing(fail: (device: { destroy(): void }, size: number) => number) {
      const devices: { live: number; isDestroyed: boolean }[] = [];
      const gpu = asReal(found, async (options) => {
        const device = await (await found.gpu.requestAdapter()).requestDevice(options);
        const counts = { live: 0, isDestroyed: false };
        devices.push(counts);
        return like(device, {
          adapterInfo: { vendor: "acme", architecture: "roadrunner", device: "", description: "Acme 9000" },
          createBuffer: (options: { size: number }) => {
            counts.live++;
            const buffer = device.createBuffer({ ...options, size: fail(device, options.size) });
            const destroy = buffer.destroy.bind(buffer);
            return Object.assign(buffer, {
              destroy: () => {
                counts.live--;
                destroy();
              },
            });
          },
          destroy: () => {
            counts.isDestroyed = true;
            device.destroy();
          },
        });
      });
      return { gpu, devices };
    }

    /** Larger than most buffers, and smaller than those of the trial that finds the fastest layout. */
    const isWeight = (size: number) => size > 4000 && size < 16_000;

    // What a device without room does: the buffer is there and invalid, and a scope tells later.
    const noRoom = () => failing((_, size) => (isWeight(size) ? 2 ** 45 : size));
    const lost = () => {
      let n = 0;
      return failing((device, size) => {
        if (++n === 40) device.destroy();
        return size;
      });
    };

    test.for([
      ["OUT_OF_MEMORY", noRoom, /^webgpu is passed over: .*expected room.* GB of weights were there: all of them take bf16 \(.*q4 \(/s],
      ["DEVICE_LOST", lost, /^webgpu is passed over: .*device was lost/],
    ] as const)(
      "%s: auto says so, frees it all, and loads on a processor; by name it is the error",
      async ([code, make, why], { skip }) => {
        if (cpuAbsent) skip(cpuAbsent);
        const { gpu, devices } = make();
        inPage(gpu);
        const heard: string[] = [];
        await using model = await loadModel(folder, { onWarning: (warning) => heard.push(warning) });
        expect([model.device.kind, heard]).toEqual(["cpu", [expect.stringMatching(why)]]);
        expect(model.device.passedOver).toEqual(heard);
        expect(devices).toEqual([{ live: expect.any(Number), isDestroyed: true }]);
        if (code === "OUT_OF_MEMORY") expect(devices[0].live).toBe(0);
        await using plain = await loadModel(folder, { backend: "cpu" });
        const options = { maxTokens: 4, temperature: 0, ignoreEos: true };
        expect((await model.generate([1, 2, 3], options)).ids).toEqual((await plain.generate([1, 2, 3], options)).ids);
        const again = make();
        inPage(again.gpu);
        await expect(loadModel(folder, { backend: "webgpu" })).rejects.toMatchObject({ code });
        expect(again.devices).toEqual([{ live: expect.any(Number), isDestroyed: true }]);
      },
    );

    test("auto tries a step while it loads, and goes on with a processor where there is room for weights alone", async ({ skip }) => {
      if (cpuAbsent) skip(cpuAbsent);
      let isRead = false;
      const { gpu, devices } = failing((_, size) => (isRead && size > 4000 ? 2 ** 45 : size));
      inPage(gpu);
      const heard: string[] = [];
      await using model = await loadModel(folder, {
        onWarning: (warning) => heard.push(warning),
        onProgress: ({ doneBytes, totalBytes }) => {
          isRead = doneBytes === totalBytes;
        },
      });
      expect([model.device.kind, heard]).toEqual(["cpu", [expect.stringMatching(/^webgpu is passed over: .*expected room/s)]]);
      expect(devices).toEqual([{ live: 0, isDestroyed: true }]);
    });

    test("where nothing else is wanted any more the reason of the abort is the error", async () => {
      const stop = new AbortController();
      const { gpu, devices } = failing((_, size) => {
        if (!isWeight(size)) return size;
        stop.abort(new Error("enough"));
        return 2 ** 45;
      });
      inPage(gpu);
      await expect(loadModel(folder, { signal: stop.signal })).rejects.toThrow("enough");
      expect(devices).toEqual([{ live: 0, isDestroyed: true }]);
    });
  });
}
