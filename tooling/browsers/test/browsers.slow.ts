// All that the fast ring leaves out: every expected text on each count of threads, and every op and layer beside the reference.

import { afterAll, describe, expect, test } from "vitest";
import type { Engine } from "./driver.ts";
import { expectedTexts } from "./expected.ts";
import type { Conformance } from "./page/conformance.ts";
import { Browsers } from "./pages.ts";

const browsers = new Browsers();
afterAll(() => browsers.close());

const places: readonly [engine: Engine, isolated: boolean, threads: readonly number[]][] = [
  ["chromium", true, [1, 2, 3]],
  ["chromium", false, [1]],
  ["firefox", true, [1, 2, 3]],
  ["firefox", false, [1]],
  ["webkit", true, [1]],
  ["webkit", false, [1]],
];

describe.for(places)("%s, isolated: %s", ([engine, isolated, counts]) => {
  test.for(counts)("on %i threads all expected texts are written token by token, from a URL and from files", async (threads, { skip }) => {
    const page = await browsers.page(engine, { isolated }, skip);
    try {
      for (const from of ["url", "files"] as const) {
        const { device } = await page.call("load", from, { dtype: "f32", threads });
        expect(device.threads).toBe(threads);
        for (const row of from === "url" ? expectedTexts : expectedTexts.slice(0, 2)) {
          const { ids, text } = await page.call("answer", row);
          expect(ids).toEqual(row.newIds);
          expect(text).toBe(row.text);
        }
      }
      const rates = [];
      for (const dtype of ["f32", "q8", "q4"] as const) {
        await page.call("load", "url", { dtype, threads });
        rates.push(`${dtype} ${(await page.call("rate", 512)).toFixed()}`);
      }
      const lefts = [];
      for (let round = 0; round < 9; round++) lefts.push((await page.call("leave", 4000, 60 + 7 * round, "Once upon a time")).ms);
      lefts.sort((a, b) => a - b);
      console.log(
        `${engine}, isolated: ${isolated}, ${threads} threads: tokens/s of a prompt ${rates.join(", ")}; a call that is left ends after ${lefts[4].toFixed()} ms, at most ${lefts[8].toFixed()}`,
      );
    } finally {
      await page.close();
    }
  });

  test("no opening finds dot products wrong that are right, however coarse the page's clock is", async ({ skip }) => {
    const page = await browsers.page(engine, { isolated, name: "conformance" }, skip);
    try {
      const found = new Map<string, number>();
      for (let round = 0; round < 30; round++) {
        const { features } = await page.evaluate<Conformance>("conformance(undefined, 1, [])");
        const told = features.filter((one) => /relaxed|simd128/.test(one)).join("; ");
        found.set(told, (found.get(told) ?? 0) + 1);
      }
      for (const [told, times] of found) console.log(`${engine}, isolated: ${isolated}, ${times} of 30: ${told}`);
      expect([...found.keys()].join()).not.toContain("wrongly");
    } finally {
      await page.close();
    }
  });

  test("every op and layer is the reference's, on every module that runs here", async ({ skip }) => {
    const page = await browsers.page(engine, { isolated, name: "conformance" }, skip);
    try {
      const most = counts.at(-1)!;
      const levels = engine === "webkit" ? ["simd128"] : ["relaxed-dot", "relaxed", "simd128"];
      const dtypes = ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"];
      for (const level of levels) {
        const found = await page.evaluate<Conformance>(`conformance(${JSON.stringify(level)}, ${most}, ${JSON.stringify(dtypes)})`);
        console.log(`${engine}, isolated: ${isolated}, ${level}, ${most} threads: ${found.cases} cases, ${found.numerics}`);
        expect(found.faults).toEqual([]);
      }
    } finally {
      await page.close();
    }
  });
});
