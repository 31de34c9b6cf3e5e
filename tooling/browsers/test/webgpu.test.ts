// jamba on WebGPU in a page: Chromium with an adapter in software, which is all that a machine without a GPU has.

import { afterAll, expect, test } from "vitest";
import { expectedTexts } from "./expected.ts";
import { Browsers } from "./pages.ts";

const browsers = new Browsers({ webgpu: true });
afterAll(() => browsers.close());

const cut = 12;

test("a page that asks for WebGPU gets it, with a warning where it is in software, and the expected texts", async ({ skip }) => {
  const page = await browsers.page("chromium", { isolated: false }, skip);
  try {
    const { device, warnings } = await page.call("load", "url", { backend: "webgpu", dtype: "f32" });
    expect(device.kind).toBe("webgpu");
    console.log(`${(await browsers.browser("chromium")).version}: ${device.name}; ${device.features.join("; ")}`);
    expect(warnings).toEqual([expect.stringMatching(/^webgpu: .*software/)]);
    for (const row of expectedTexts.slice(0, 2)) {
      expect((await page.call("answer", row, cut)).ids).toEqual(row.newIds.slice(0, cut));
    }
    const left = await page.call("leave", 400, 60, "Once upon a time");
    expect(left).toMatchObject({ finishReason: "cancelled", ids: [] });
    expect(expectedTexts[0].text.startsWith(left.next)).toBe(true);
    await page.call("dispose");
    expect(await page.evaluate("errors")).toEqual([]);
  } finally {
    await page.close();
  }
});

test("auto takes no adapter in software, and passes nothing over", async ({ skip }) => {
  const page = await browsers.page("chromium", { isolated: true }, skip);
  try {
    const { device, warnings } = await page.call("load", "url", { backend: "auto" });
    expect([device.kind, device.passedOver, warnings]).toEqual(["wasm", undefined, []]);
    const usable = (await page.call("devices")).filter(({ usable }) => usable).map(({ backend }) => backend);
    expect(usable).toEqual(["webgpu", "wasm", "reference"]);
  } finally {
    await page.close();
  }
});
