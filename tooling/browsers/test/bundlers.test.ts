// What vite and esbuild make of the built packages, in Chromium. The others, and packages as npm installs them: bundlers.slow.ts.

import { afterAll, expect, test } from "vitest";
import { byEsbuild, byVite, expectAnswer, isBuilt, sourcesAtOnce } from "./bundlers.ts";
import { type Browser, NoBrowser, openBrowser } from "./driver.ts";
import { serve } from "./site.ts";

let opening: Promise<Browser> | undefined;
afterAll(() => opening?.then((browser) => browser.close()).catch(() => undefined));

test.for([
  ["vite", byVite],
  ["esbuild", byEsbuild],
] as const)("a page that %s made answers, and fetches one module alone", async ([name, make], { skip }) => {
  if (!isBuilt) skip("the packages are not built; run pnpm build");
  opening ??= openBrowser("chromium");
  const browser = await opening.catch((error) => {
    if (error instanceof NoBrowser) skip(error.message);
    throw error;
  });
  const files = await make();
  const site = await serve(files, { isolated: true });
  const page = await browser.newPage();
  try {
    console.log(`${name}: ${await expectAnswer(page, site, files)}`);
  } finally {
    await page.close();
    await site.close();
  }
});

test("what formats, long conversations and backends need comes when it is needed", async ({ skip }) => {
  if (!isBuilt) skip("the packages are not built; run pnpm build");
  const sources = await sourcesAtOnce();
  expect(sources.some((source) => source.endsWith("packages/jamba/dist/index.js"))).toBe(true);
  const late = /packages\/(grammar|runtime-backends)\/|format-grammar|render-thread-code|\/zod\/v3\//;
  expect(sources.filter((source) => late.test(source))).toEqual([]);
});
