// Packages as npm installs them, through each bundler, in Chromium and Firefox. Fetches the bundlers, at pinned versions.

import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, test } from "vitest";
// @ts-expect-error plain JavaScript, so that it runs without a build
import { packAll } from "../../check/packages.mjs";
import { copyPage, expectAnswer, installed } from "./bundlers.ts";
import { NoBrowser } from "./driver.ts";
import { Browsers } from "./pages.ts";
import { type Files, serve } from "./site.ts";

const run = promisify(execFile);
const browsers = new Browsers();
let folder: string;
const made = new Map<string, Promise<Files>>();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bundled-"));
  mkdirSync(join(folder, "tarballs"));
  const packed: { manifest: { name: string }; tarball: string }[] = packAll(join(folder, "tarballs"));
  const ours = packed.filter(({ manifest: { name } }) => !["@jamba/cli", "@jamba/server"].includes(name));
  const dependencies = {
    ...Object.fromEntries(ours.map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`])),
    ...Object.assign({}, ...Object.values(installed).map(({ packages }) => packages)),
  };
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module", dependencies }));
  await run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"], { cwd: folder });
  copyPage(folder);
}, 600_000);
afterAll(async () => {
  await browsers.close();
  rmSync(folder, { recursive: true, force: true });
});

describe.for(Object.keys(installed))("%s", (name) => {
  test.for(["chromium", "firefox"] as const)("answers in %s, and fetches one module alone", async (engine, { skip }) => {
    const browser = await browsers.browser(engine).catch((error) => {
      if (error instanceof NoBrowser) skip(error.message);
      throw error;
    });
    if (!made.has(name)) made.set(name, installed[name].build(folder));
    const files = await made.get(name)!;
    const site = await serve(files, { isolated: true });
    const page = await browser.newPage();
    try {
      const told = await expectAnswer(page, site, files);
      console.log(`${name} in ${browser.version}: ${told}; ${new Set(site.asked.filter((path) => /js$/.test(path))).size} scripts`);
    } finally {
      await page.close();
      await site.close();
    }
  });
});
