// onnxruntime-web and jamba on one device of WebGPU: a tensor that one of them computed is the other one's input, in the buffer that it lies in.

import { openWebGpuBackend } from "@jamba/backend-webgpu";
import { HostTensor, openReference, record, runOnce } from "@jamba/core";
import type * as OnnxRuntime from "onnxruntime-web/webgpu";

export interface Handed {
  /** Σ (found - expected)² / Σ expected², of ours with theirs as input, and of theirs with ours. */
  readonly errors: readonly number[];
  /** From the first step to the last one: bytes that were written from the host, and buffers that were mapped. */
  readonly writtenBytes: number;
  readonly maps: number;
  readonly tensorBytes: number;
  /** Whether onnxruntime still computes when our backend is gone. */
  readonly goesOn: boolean;
}

const [tokens, side] = [64, 64];
const dims = [tokens, side] as const;

/** A model of ONNX for y = x · x: protobuf, of which no message here is longer than a byte can tell. */
function square(): Uint8Array {
  const [bytes, number] = [
    (field: number, of: number[]) => [8 * field + 2, of.length, ...of],
    (field: number, n: number) => [8 * field, n],
  ];
  const text = (field: number, of: string) => bytes(field, [...new TextEncoder().encode(of)]);
  const shape = dims.flatMap((n) => bytes(1, number(1, n)));
  const value = (name: string) => [...text(1, name), ...bytes(2, bytes(1, [...number(1, 1), ...bytes(2, shape)]))];
  const node = [...text(1, "x"), ...text(1, "x"), ...text(2, "y"), ...text(4, "Mul")];
  const graph = [...bytes(1, node), ...text(2, "square"), ...bytes(11, value("x")), ...bytes(12, value("y"))];
  return Uint8Array.from([...number(1, 10), ...bytes(7, graph), ...bytes(8, number(2, 21))]);
}

interface GpuPart {
  readonly queue: { writeBuffer(buffer: object, at: number, data: ArrayBufferView, from?: number, size?: number): void };
}

async function handTensors(from: string): Promise<Handed> {
  const ort: typeof OnnxRuntime = await import(from);
  Object.assign(ort.env.wasm, { wasmPaths: new URL(".", from).href, numThreads: 1 });
  const options = { executionProviders: ["webgpu"], preferredOutputLocation: "gpu-buffer" } as const;
  const session = await ort.InferenceSession.create(square(), options);
  const device = (await ort.env.webgpu.device) as object as GpuPart;
  const backend = await openWebGpuBackend({ device });
  const store = await backend.createStates({ layers: [], pageTokens: 4, kvDtype: "f32" });
  await store.reserve(1, 0);
  const list = record({ L: tokens, nSequences: 1, nRows: 0 }, store.spec, (ops) => {
    const x = ops.input("x", dims);
    ops.keep("y", ops.swiglu(x, x));
  });
  const program = await backend.prepare(list, store);
  const inputs = {
    ids: new Int32Array(tokens),
    starts: Int32Array.of(0, tokens),
    rows: new Int32Array(0),
    states: [{ slot: 0, pages: [], seen: 0 }],
  };
  const values = Float32Array.from({ length: tokens * side }, (_, i) => Math.sin(i));
  const theirs = async (x: OnnxRuntime.Tensor) => (await session.run({ x })).y;
  const ours = async (x: object) => {
    const step = backend.submit(program, { ...inputs, tensors: new Map([["x", x as HostTensor]]) });
    await step.done;
    return step.read("y", [0, tokens], "gpu-buffer");
  };
  const first = await theirs(new ort.Tensor("float32", values, dims));

  const counts = { writtenBytes: 0, maps: 0 };
  const { queue } = device;
  const write = queue.writeBuffer.bind(queue);
  queue.writeBuffer = (buffer, at, data, from, size) => {
    counts.writtenBytes += size ?? data.byteLength;
    write(buffer, at, data, from, size);
  };
  const buffers = (globalThis as unknown as { GPUBuffer: { prototype: { mapAsync(...range: unknown[]): Promise<void> } } }).GPUBuffer;
  const { mapAsync } = buffers.prototype;
  buffers.prototype.mapAsync = function (...range) {
    counts.maps++;
    return mapAsync.apply(this, range);
  };
  const second = await ours(first);
  // Each makes tensors of its own class.
  const third = await theirs(ort.Tensor.fromGpuBuffer(second.gpuBuffer as never, { dataType: "float32", dims }));
  const counted = { ...counts };

  const [x, y, z] = [(await first.getData()) as Float32Array, (await second.getData()) as Float32Array, await third.getData()];
  const errors = [
    errorOf(y, await expected(x)),
    errorOf(z as Float32Array, (await (await theirs(new ort.Tensor("float32", y.slice(), dims))).getData()) as Float32Array),
  ];
  for (const tensor of [first, second, third]) tensor.dispose();
  await backend.dispose();
  const again = (await (await theirs(new ort.Tensor("float32", values, dims))).getData()) as Float32Array;
  return { errors, ...counted, tensorBytes: 4 * tokens * side, goesOn: errorOf(again, x) === 0 };

  async function expected(x: Float32Array): Promise<Float32Array> {
    const reference = openReference();
    const store = await reference.createStates({ layers: [], pageTokens: 4, kvDtype: "f32" });
    await store.reserve(1, 0);
    const plain = record({ L: tokens, nSequences: 1, nRows: 0 }, store.spec, (ops) => {
      const x = ops.input("x", dims);
      ops.read("y", ops.swiglu(x, x));
    });
    const found = await runOnce(reference, plain, store, {
      ...inputs,
      tensors: new Map([["x", new HostTensor("float32", x.slice(), dims)]]),
    });
    return found.get("y")!.data as Float32Array;
  }
}

function errorOf(found: Float32Array, expected: Float32Array): number {
  const sum = (of: (v: number, i: number) => number) => expected.reduce((total, v, i) => total + of(v, i) ** 2, 0);
  return sum((v, i) => found[i] - v) / sum((v) => v);
}

Object.assign(globalThis, { handTensors });
