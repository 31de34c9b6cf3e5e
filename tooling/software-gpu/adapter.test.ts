import { expect, test } from "vitest";
import { findAdapter } from "./src/adapter.ts";

test("an adapter without a GPU copies, and is the same for whoever asks", async ({ skip }) => {
  const found = await findAdapter();
  if (typeof found === "string") return skip(found);
  expect(await findAdapter()).toBe(found);
  const device = await (await found.gpu.requestAdapter()).requestDevice();
  const [copyDst, copySrc, mapRead] = [8, 4, 1];
  const from = device.createBuffer({ size: 16, usage: copyDst | copySrc });
  const to = device.createBuffer({ size: 16, usage: copyDst | mapRead });
  device.queue.writeBuffer(from, 0, Uint32Array.of(1, 2, 3, 4));
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(from, 0, to, 0, 16);
  device.queue.submit([encoder.finish()]);
  await to.mapAsync(mapRead);
  expect([...new Uint32Array(to.getMappedRange().slice(0))]).toEqual([1, 2, 3, 4]);
  device.destroy();
});
