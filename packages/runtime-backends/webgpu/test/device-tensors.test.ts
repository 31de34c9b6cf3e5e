// Tensors in buffers of a shared device: what another one on it computed goes into a step, and what a step gives to another one, with
// nothing mapped or uploaded in between.

import { type Backend, HostTensor, openReference, record, type StepInputs } from "@jamba/core";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type GpuBuffer, type GpuDevice, usage } from "../src/gpu.ts";
import { openWebGpuBackend } from "../src/index.ts";
import { onAdapter } from "./adapter.ts";
import { type Spied, spiedDevice } from "./spied-device.ts";

const [L, columns] = [5, 6];
const values = Float32Array.from({ length: L * columns }, (_, i) => Math.sin(i));

/** silu(x) · x, which is kept and read, with what it was routed to. */
async function square(backend: Backend) {
  const store = await backend.createStates({ layers: [], pageTokens: 4, kvDtype: "f32" });
  await store.reserve(1, 0);
  const list = record({ L, nSequences: 1, nRows: 0 }, store.spec, (ops) => {
    const [before, x] = [ops.input("before", [2, 3]), ops.input("x", [L, columns])];
    ops.read("before", before);
    const y = ops.swiglu(x, x);
    ops.read("y", y);
    ops.keep("twice", ops.swiglu(y, y));
    ops.keep("kept", y);
    ops.read("experts", ops.route(y, 2).experts);
  });
  const program = await backend.prepare(list, store);
  const before = new HostTensor(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
  const inputs = {
    ids: new Int32Array(L),
    starts: Int32Array.of(0, L),
    rows: new Int32Array(0),
    states: [{ slot: 0, pages: [], seen: 0 }],
  };
  const inputsOf = (x: HostTensor): StepInputs => ({
    ...inputs,
    tensors: new Map([
      ["x", x],
      ["before", before],
    ]),
  });
  return { store, submit: (x: HostTensor) => backend.submit(program, inputsOf(x)) };
}

/** As another user of the device makes it. */
function onDevice(device: GpuDevice, data: Float32Array, { bits = 4 | 8 | 128, size = data.byteLength + 8 } = {}): HostTensor {
  const buffer = device.createBuffer({ size, usage: bits });
  if (size >= data.byteLength) device.queue.writeBuffer(buffer, 0, data);
  return HostTensor.fromGpuBuffer(buffer as never, { dataType: "float32", dims: [L, columns], dispose: () => buffer.destroy() });
}

/** What another user of the device reads of a buffer. */
async function contents(device: GpuDevice, tensor: HostTensor): Promise<Float32Array> {
  const size = 4 * tensor.size;
  const staging = device.createBuffer({ size, usage: usage.mapRead | usage.copyDst });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(tensor.gpuBuffer as unknown as GpuBuffer, 0, staging, 0, size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(1);
  const found = new Float32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return found;
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "no error",
    (error) => error.code,
  );

onAdapter((adapter) => {
  let spied: Spied;
  let backend: Backend;
  beforeEach(async () => {
    spied = await spiedDevice(adapter);
    backend = await openWebGpuBackend({ device: spied.device });
  });
  afterEach(async () => {
    await backend.dispose();
    expect(spied.live.size).toBe(0);
    spied.device.destroy();
  });

  test("a step takes a tensor from a buffer, and gives the same as from host memory", async () => {
    const { submit } = await square(backend);
    const [host, lent] = [new HostTensor(values, [L, columns]), onDevice(spied.device, values)];
    const expected = submit(host);
    await expected.done;
    const written = spied.counts.writtenBytes;
    const found = submit(lent);
    await found.done;
    const ownBytes = spied.counts.writtenBytes - written;
    for (const name of ["before", "y", "twice", "experts"]) expect((await found.read(name)).data).toEqual((await expected.read(name)).data);
    await submit(host).done;
    // Words of a step without the tensor's.
    expect(spied.counts.writtenBytes - written - ownBytes).toBe(ownBytes + values.byteLength);
    lent.dispose();
    // Another buffer in its place.
    const other = onDevice(
      spied.device,
      values.map((v) => -v),
    );
    expect((await submit(other).read("y")).data).toEqual(
      (
        await submit(
          new HostTensor(
            values.map((v) => -v),
            [L, columns],
          ),
        ).read("y")
      ).data,
    );
    other.dispose();
  });

  test("a step gives what it reads and keeps in buffers of their own, all rows or some, until the submit after the next one", async () => {
    const { submit } = await square(backend);
    const host = new HostTensor(values, [L, columns]);
    const step = submit(host);
    const names = ["y", "twice", "kept", "experts"];
    const expected = await Promise.all(names.map(async (name) => (await step.read(name)).data));
    const mapped = spied.counts.mappedBytes;
    const given = await Promise.all(names.map((name) => step.read(name, undefined, "gpu-buffer")));
    const some = await step.read("kept", [1, 3], "gpu-buffer");
    const asked = step.read("twice", [4, 5], "gpu-buffer");
    const none = await step.read("y", [2, 2], "gpu-buffer");
    expect(spied.counts.mappedBytes).toBe(mapped);
    expect([given[0].location, given[0].type, given[0].dims, given[3].type]).toEqual(["gpu-buffer", "float32", [L, columns], "int32"]);
    expect([some.dims, none.dims]).toEqual([
      [2, columns],
      [0, columns],
    ]);
    for (let i = 0; i < 3; i++) await submit(new HostTensor(new Float32Array(L * columns), [L, columns])).done;
    for (const [i, tensor] of given.entries()) expect(await tensor.getData()).toEqual(expected[i]);
    expect(await contents(spied.device, some)).toEqual((expected[2] as Float32Array).slice(columns, 3 * columns));
    expect(await contents(spied.device, await asked)).toEqual((expected[1] as Float32Array).slice(4 * columns));
    expect(await codeOf(step.read("y", undefined, "gpu-buffer"))).toBe("BACKEND");
    for (const wrong of [
      [0, 6],
      [3, 2],
    ] as const)
      expect(await codeOf(submit(host).read("y", wrong, "gpu-buffer"))).toBe("SHAPE");
    expect(await codeOf(submit(host).read("z", undefined, "gpu-buffer"))).toBe("SHAPE");
    const alive = spied.live.size;
    for (const tensor of [...given, some, none, await asked]) tensor.dispose();
    expect(alive - spied.live.size).toBe(7);
  });

  test("what a step gives goes into the next one, and rows of several into one tensor", async () => {
    const { submit } = await square(backend);
    const expected = (await submit((await submit(new HostTensor(values, [L, columns])).read("y")) as HostTensor).read("y")).data;
    const y = await submit(new HostTensor(values, [L, columns])).read("y", undefined, "gpu-buffer");
    const again = submit(y);
    expect((await again.read("y")).data).toEqual(expected);
    const parts = [await again.read("y", [0, 2], "gpu-buffer"), await again.read("y", [2, 5], "gpu-buffer")];
    const joined = await backend.deviceTensors!.join(parts);
    expect(parts.map(({ location }) => location)).toEqual(["none", "none"]);
    expect(joined.dims).toEqual([L, columns]);
    expect(await joined.getData()).toEqual(expected);
    const { join } = backend.deviceTensors!;
    expect(await join([y])).toBe(y);
    expect(await codeOf(join([]))).toBe("SHAPE");
    expect(await codeOf(join([y, new HostTensor(values, [L, columns])]))).toBe("UNSUPPORTED");
    for (const tensor of [y, joined]) tensor.dispose();
  });

  test("what can't be read is refused with a code, and nothing has moved", async () => {
    const { submit } = await square(backend);
    const host = new HostTensor(values, [L, columns]);
    const expected = (await submit(host).read("y")).data;
    const [small, wrong] = [onDevice(spied.device, values, { size: 64 }), onDevice(spied.device, values, { bits: 4 | 8 })];
    const stranger = await spiedDevice(adapter);
    const others = onDevice(stranger.device, values);
    const gone = onDevice(spied.device, values);
    gone.dispose();
    const begin = (tensor: HostTensor) => codeOf(Promise.resolve().then(() => submit(tensor).done));
    expect(await begin(small)).toBe("SHAPE");
    expect(await begin(wrong)).toBe("BACKEND");
    expect(await begin(others)).toBe("BACKEND");
    expect(await begin(gone)).toBe("UNSUPPORTED");
    expect((await submit(host).read("y")).data).toEqual(expected);
    for (const tensor of [small, wrong, others]) tensor.dispose();
    stranger.device.destroy();
  });

  test("a tensor outlives its backend on a caller's device, where no room is an error", async () => {
    const { submit } = await square(backend);
    const step = submit(new HostTensor(values, [L, columns]));
    const y = await step.read("y", undefined, "gpu-buffer");
    const expected = (await step.read("y")).data;
    await backend.dispose();
    expect(await contents(spied.device, y)).toEqual(expected);
    expect(await codeOf(y.getData())).toBe("DISPOSED");
    y.dispose();
  });
});

test("a device without buffers refuses both with UNSUPPORTED", async () => {
  const reference = openReference();
  const { submit } = await square(reference);
  const step = submit(new HostTensor(values, [L, columns]));
  expect(reference.deviceTensors).toBeUndefined();
  expect(await codeOf(step.read("y", undefined, "gpu-buffer"))).toBe("UNSUPPORTED");
  const buffer = { size: 1000, usage: 4 | 8 | 128, destroy: () => undefined };
  const tensor = HostTensor.fromGpuBuffer(buffer as never, { dataType: "float32", dims: [L, columns] });
  expect(await codeOf(Promise.resolve().then(() => submit(tensor).done))).toBe("UNSUPPORTED");
  await reference.dispose();
});
