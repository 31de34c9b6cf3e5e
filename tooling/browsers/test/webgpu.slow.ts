// Every op and layer on WebGPU in a page, in all the ways that adapters differ.

import { afterAll, expect, test } from "vitest";
import type { Conformance } from "./page/conformance.ts";
import { Browsers } from "./pages.ts";

const browsers = new Browsers({ webgpu: true });
afterAll(() => browsers.close());

test.for([{}, { mostBindingBytes: 512 }, { mostBindingBytes: 2 ** 27, without: ["subgroups", "shader-f16"] }])(
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
