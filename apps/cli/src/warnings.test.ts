// What was read otherwise than the files say goes to stderr, where it is no answer's, and into inspect.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { jamba } from "../test/jamba.ts";

const fixture = fileURLToPath(new URL("../../../tooling/golden/fixtures/base", import.meta.url));
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "jamba-warnings-"));
  cpSync(fixture, folder, { recursive: true });
  const config = JSON.parse(readFileSync(join(fixture, "config.json"), "utf8"));
  const layers = Array.from({ length: 8 }, (_, layer) => (layer === 4 ? "attention" : "mamba"));
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, attn_layer_offset: 3, layers_block_type: layers }));
});
afterAll(() => rmSync(folder, { recursive: true }));

const told = /config\.json: layers_block_type makes layer 3 a layer of mamba, attn_layer_period and attn_layer_offset one of attention/;

test("run tells it, unless it is to be quiet", async () => {
  const run = ["run", folder, "--ids", "1,2", "-n", "1"];
  expect(await jamba(run)).toMatchObject({ code: 0, stderr: expect.stringMatching(new RegExp(` note: .*${told.source}`)) });
  expect(await jamba([...run, "--quiet"])).toMatchObject({ code: 0, stderr: "" });
});

test("inspect shows it", async () => {
  const { stdout } = await jamba(["inspect", folder]);
  expect(stdout.replaceAll(/\s+/g, " ")).toMatch(new RegExp(`note: .*${told.source}`));
  const { warnings, layers } = JSON.parse((await jamba(["inspect", folder, "--json"])).stdout);
  expect([warnings, layers.indexOf("A")]).toEqual([[expect.stringMatching(told)], 4]);
});
