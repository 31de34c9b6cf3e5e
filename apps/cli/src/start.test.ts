// What is offered of the family: as the hub tells it where there is one, as it was published where there is none.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import { hubForTests } from "../../../tooling/hub/hub-for-tests.ts";
import { jamba } from "../test/jamba.ts";
import { family } from "./family.ts";
import { lists, offersOf } from "./start.ts";

const fixture = fileURLToPath(new URL("../../../tooling/golden/fixtures/base", import.meta.url));
const root = mkdtempSync(join(tmpdir(), "jamba-start-"));
const hub = await hubForTests();
afterAll(() => rmSync(root, { recursive: true }));
beforeEach(() => {
  for (const name of ["HF_TOKEN", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy"]) vi.stubEnv(name, undefined);
  vi.stubEnv("HF_HOME", root);
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
});
afterEach(() => vi.unstubAllEnvs());

test("sizes are the hub's where it tells them, and else those that were published, marked as such", async () => {
  const file = (name: string) => new Uint8Array(readFileSync(join(fixture, name)));
  hub.add("ai21labs/AI21-Jamba2-3B", {
    "config.json": file("config.json"),
    "model.safetensors": { bytes: file("model.safetensors"), lfs: true },
  });
  const offers = await offersOf(new Set(["ai21labs/AI21-Jamba2-Mini"]));
  expect(offers.map(({ member }) => member.id)).toEqual(family.map(({ id }) => id).filter((id) => id !== "ai21labs/AI21-Jamba2-Mini"));
  expect(offers.filter(({ isFromHub }) => isFromHub).map(({ member }) => member.id)).toEqual(["ai21labs/AI21-Jamba2-3B"]);
  expect(offers[0].sizeBytes).toBeLessThan(file("model.safetensors").length);
  expect(offers[0].plan).toMatchObject({ contextLength: 8192, parameters: expect.any(Number) });
  const names = lists([], offers).flatMap((item) => ("name" in item ? [item.name] : []));
  expect(names[0]).toMatch(/^Jamba2-3B +\d\.\d MB {2}fits$/);
  for (const name of names.slice(1)) expect(name).toMatch(/ {2}(fits( as \w+)?|does not fit) \*$/);
});

test("what was published of the family is what its configs come to", async () => {
  vi.stubEnv("HF_HUB_OFFLINE", "1");
  for (const { member, plan, sizeBytes, isFromHub } of await offersOf(new Set())) {
    expect([member.id, isFromHub, sizeBytes]).toEqual([member.id, false, member.fileBytes]);
    // Two bytes a parameter, but for the file in 4 bits with its scales.
    if (!member.id.endsWith("Q4_K_M")) expect(Math.abs(sizeBytes / (2 * plan.parameters) - 1), member.id).toBeLessThan(0.02);
  }
});

test("where nobody sits there is the short help, and 2", async () => {
  expect(await jamba([])).toMatchObject({ code: 2, stdout: expect.stringMatching(/^jamba: run Jamba models/), stderr: "" });
});
