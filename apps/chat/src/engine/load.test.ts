import type { DeviceInfo } from "jamba";
import { afterEach, expect, test, vi } from "vitest";
import { whyNoGpu } from "./load.ts";

afterEach(() => vi.unstubAllGlobals());

const device = (kind: DeviceInfo["kind"], passedOver?: string[]) => ({ kind, passedOver }) as DeviceInfo;

test.for<[string, object, RegExp]>([
  ["no WebGPU", {}, /has no WebGPU/],
  ["no adapter", { gpu: { requestAdapter: async () => null } }, /no GPU here/],
  ["one that fails", { gpu: { requestAdapter: () => Promise.reject(new Error("gone")) } }, /no GPU here/],
  ["one in software", { gpu: { requestAdapter: async () => ({}) } }, /played by the processor/],
])("a page without a GPU says why: %s", async ([_, navigator, why]) => {
  vi.stubGlobal("navigator", navigator);
  expect(await whyNoGpu(device("wasm"), "auto")).toEqual([expect.stringMatching(why)]);
  expect(await whyNoGpu(device("wasm", ["webgpu can't be used: no device today"]), "auto")).toEqual([]);
  expect(await whyNoGpu(device("webgpu"), "auto")).toEqual([]);
  expect(await whyNoGpu(device("wasm"), "wasm")).toEqual([]);
});
