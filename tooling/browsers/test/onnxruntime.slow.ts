// Tensors of onnxruntime-web in steps of ours, and ours in its sessions, on the device that it opened.

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { bundlePages } from "./bundle.ts";
import { openBrowser } from "./driver.ts";
import type { Handed } from "./page/onnxruntime.ts";
import { filesOf, serve } from "./site.ts";

const opening = openBrowser("chromium", { webgpu: true });
opening.catch(() => undefined);
afterAll(() => opening.then((browser) => browser.close()).catch(() => undefined));

test("a tensor goes from onnxruntime-web to us and back in its buffer", async ({ skip }) => {
  const browser = await opening.catch((error) => skip(error.message));
  const [pages, theirs] = [
    await bundlePages(["onnxruntime"]),
    filesOf(dirname(fileURLToPath(import.meta.resolve("onnxruntime-web/webgpu")))),
  ];
  const site = await serve((path) => (path.startsWith("ort/") ? theirs(path.slice("ort/".length)) : pages(path)), { isolated: true });
  const page = await browser.newPage();
  try {
    await page.goto(`${site.url}onnxruntime.html`);
    const handed = await page.evaluate<Handed>(`handTensors("${site.url}ort/ort.webgpu.bundle.min.mjs")`);
    console.log(JSON.stringify(handed));
    for (const error of handed.errors) expect(error).toBeLessThan(1e-10);
    expect(handed.maps).toBe(0);
    // Parameters of steps, and nothing of the tensor's size.
    expect(handed.writtenBytes).toBeLessThan(handed.tensorBytes / 8);
    expect(handed.goesOn).toBe(true);
  } finally {
    await page.close();
    await site.close();
  }
});
