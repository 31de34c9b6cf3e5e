// jamba in real browsers, with the CPU backend's modules: bundled from sources, served, loaded, asked. One engine a test; what is not
// installed is skipped, and says so.

import { afterAll, describe, expect, test } from "vitest";
import type { Engine } from "./driver.ts";
import { expectedTexts } from "./expected.ts";
import { Browsers, modulesAmong, modulesTold, type OpenPage } from "./pages.ts";

const browsers = new Browsers();
afterAll(() => browsers.close());

const places: readonly [engine: Engine, isolated: boolean][] = [
  ["chromium", true],
  ["chromium", false],
  ["firefox", true],
  ["webkit", true],
];
const story = "Once upon a time";
const cut = 12;

async function expectTexts(page: OpenPage): Promise<void> {
  for (const row of expectedTexts.slice(0, 6)) {
    const { ids } = await page.call("answer", row, cut);
    expect(ids).toEqual(row.newIds.slice(0, cut));
  }
}

describe.each(places)("%s, isolated: %s", (engine, isolated) => {
  test("answers as expected, streams, goes on from what was kept, and stops when it is left", async ({ skip }) => {
    const page = await browsers.page(engine, { isolated }, skip);
    try {
      const { sharedMemory, asyncDispose } = await page.call("place");
      const { value, gapMs: loadGapMs } = await page.call("gapOfLoad", "url", { dtype: "f32" });
      const { device, warnings } = value;
      // Where nothing can be shared: one thread, and what to do about it.
      expect(device.kind).toBe("wasm");
      if (sharedMemory) expect(warnings).toEqual([]);
      else {
        expect(device.threads).toBe(1);
        expect(warnings.join()).toMatch(isolated ? /this browser shares no memory/ : /Cross-Origin-Opener-Policy: same-origin/);
      }
      expect(device.numerics).toMatch(/^(wasm-relaxed-(fused|split)|cpu-portable)-\d+$/);
      expect(modulesAmong(page.site.asked)).toEqual(modulesTold(device.features));

      await expectTexts(page);
      const { parts, text } = await page.call("stream", story, cut);
      expect(parts.length).toBeGreaterThan(5);
      expect([parts.join(""), expectedTexts[0].text.startsWith(text)]).toEqual([text, true]);
      const reopened = await page.call("reopen", story);
      expect(reopened).toMatchObject({ again: reopened.text, cachedTokens: reopened.ids, saved: "UNSUPPORTED" });
      const turns = await page.call("converse", ["Write a story about Mia and a fox.", "Who is Mia?"], cut);
      expect(turns[1].cached).toBeGreaterThan(cut);

      const left = await page.call("leave", 3000, 60, story);
      expect(left).toMatchObject({ finishReason: "cancelled", ids: [] });
      expect(expectedTexts[0].text.startsWith(left.next)).toBe(true);
      const { gapMs } = await page.call("gapOfAnswer", expectedTexts[4], cut);
      await page.call("dispose");
      expect(await page.evaluate("errors")).toEqual([]);
      const told = [...device.features, asyncDispose ? "" : "no Symbol.asyncDispose"].filter(Boolean).join("; ");
      console.log(
        `${(await browsers.browser(engine)).version}: ${told}. Left after ${left.ms.toFixed()} ms; longest gap of the page ${loadGapMs.toFixed()} ms while loading, ${gapMs.toFixed()} ms while answering`,
      );
    } finally {
      await page.close();
    }
  });
});

test("a page's own files load as q8 and q4, whose answers begin as they should", async ({ skip }) => {
  const page = await browsers.page("chromium", { isolated: true }, skip);
  try {
    for (const dtype of ["q8", "q4"] as const) {
      const { dtypes } = await page.call("load", "files", { dtype });
      expect(dtypes).toContain(dtype);
      // Blocks round: some words change, and what was written stays likely.
      const likely = [];
      for (const row of expectedTexts.slice(0, 6)) likely.push(await page.call("likes", row));
      console.log(`${dtype}: mean log probabilities of texts that f32 wrote: ${likely.map((one) => one.toFixed(3)).join(", ")}`);
      expect(Math.min(...likely)).toBeGreaterThan(-0.6);
      expect((await page.call("answer", expectedTexts[2], 5)).ids).toEqual(expectedTexts[2].newIds.slice(0, 5));
    }
  } finally {
    await page.close();
  }
});

test("auto takes WebAssembly, and passes nothing over that a page could have", async ({ skip }) => {
  const page = await browsers.page("chromium", { isolated: true }, skip);
  try {
    const { device, warnings } = await page.call("load", "url", { backend: "auto" });
    expect([device.kind, device.passedOver, warnings]).toEqual(["wasm", undefined, []]);
    const usable = (await page.call("devices")).filter(({ usable }) => usable).map(({ backend }) => backend);
    expect(usable).toEqual(["wasm", "reference"]);
  } finally {
    await page.close();
  }
});

test("threads are as many as asked where memory is shared, and give the same text", async ({ skip }) => {
  const page = await browsers.page("chromium", { isolated: true }, skip);
  try {
    for (const threads of [1, 2, 3]) {
      const { device } = await page.call("load", "url", { dtype: "f32", threads });
      expect(device.threads).toBe(threads);
      expect((await page.call("answer", expectedTexts[0], 24)).ids).toEqual(expectedTexts[0].newIds.slice(0, 24));
    }
  } finally {
    await page.close();
  }
});
