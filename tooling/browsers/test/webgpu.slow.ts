// Every op and layer on WebGPU in a page, in all the ways that adapters differ.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, expect, test } from "vitest";
import { asText, noTests } from "../../tsup/embedded.mjs";
import type { Conformance } from "./page/conformance.ts";
import { Browsers } from "./pages.ts";
import { serve } from "./site.ts";

/** Of apps/bench/src/webgpu/figures.ts, what is looked at. */
interface Report {
  readonly failures: readonly string[];
  readonly conformance: { readonly cases: number; readonly faults: readonly string[] };
  readonly ops: readonly unknown[];
  readonly models: readonly unknown[];
}

const browsers = new Browsers({ webgpu: true });
afterAll(() => browsers.close());

test.for([{}, { mostBindingBytes: 512 }, { mostBindingBytes: 2 ** 27, without: ["packed_4x8_integer_dot_product"] }])(
  "every op and layer is the reference's, with %j",
  async (options, { skip }) => {
    const page = await browsers.page("chromium", { isolated: true, name: "conformance" }, skip);
    try {
      const { cases, faults, features } = await page.evaluate<Conformance>(`webgpuConformance(${JSON.stringify(options)})`);
      console.log(`${JSON.stringify(options)}: ${cases} cases; ${features.join("; ")}`);
      expect(faults).toEqual([]);
    } finally {
      await page.close();
    }
  },
);

test("the page for people with GPUs measures every part, and offers the result", async ({ skip }) => {
  const folder = fileURLToPath(new URL("../../../apps/bench/src/webgpu/", import.meta.url));
  const { outputFiles } = await build({
    entryPoints: [`${folder}page.ts`],
    outdir: "/",
    write: false,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    conditions: ["source"],
    loader: { ".gz": "binary", ".wgsl": "text" },
    plugins: [asText, noTests],
  });
  const files = new Map(outputFiles.map(({ path, contents }) => [path.slice(1), contents]));
  files.set("index.html", readFileSync(`${folder}page.html`));
  const browser = await browsers.browser("chromium").catch((error) => skip(error.message));
  const site = await serve((path) => files.get(path), { isolated: true });
  const page = await browser.newPage();
  try {
    await page.goto(site.url);
    const report = await page.evaluate<Report>("run()");
    console.log(await page.evaluate<string>(`tableOf(${JSON.stringify(report)})`));
    expect([report.failures, report.conformance.faults]).toEqual([[], []]);
    expect(report.conformance.cases).toBeGreaterThan(1900);
    expect(report.ops.length).toBeGreaterThan(10);
    expect(report.models).toHaveLength(2);
    expect(await page.evaluate("[document.querySelectorAll('tr').length > 10, document.getElementById('file').hidden]")).toEqual([
      true,
      false,
    ]);
  } finally {
    await page.close();
    await site.close();
  }
});
