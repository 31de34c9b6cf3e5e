// Hub ids as users write them, against a server that speaks the hub's routes: fetched to be run, read by ranges to be looked at.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint } from "@jamba/loader";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { hubForTests } from "../../../tooling/hub/hub-for-tests.ts";
import { type LoadProgress, loadModel, planMemory } from "../src/index.ts";
import { goldenFolder, openGolden } from "./golden.ts";

const id = "owner/jamba-odd";
const hub = await hubForTests();
let cacheDir: string;
let weights: Uint8Array;

beforeEach(() => {
  cacheDir = mkdtempSync(join(tmpdir(), "jamba-hub-"));
  const file = (name: string) => new Uint8Array(readFileSync(join(goldenFolder("odd"), name)));
  weights = file("model.safetensors");
  hub.add(id, { "config.json": file("config.json"), "model.safetensors": { bytes: weights, lfs: true } });
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  vi.stubEnv("HF_TOKEN", undefined);
  vi.stubEnv("HF_HUB_OFFLINE", undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(cacheDir, { recursive: true, force: true });
});

test("a model is fetched once, and then needs no hub", async () => {
  const { ids } = await openGolden("odd");
  const logitsOf = async (source: string, options = {}) => {
    await using model = await loadModel(source, { backend: "reference", ...options });
    return (await model.forward(ids)).logits.data;
  };
  const expected = await logitsOf(goldenFolder("odd"));
  const reports: LoadProgress[] = [];
  expect(await logitsOf(id, { cacheDir, onProgress: (report: LoadProgress) => reports.push(report) })).toEqual(expected);
  const phases = [...new Set(reports.map(({ phase }) => phase))];
  expect(phases.filter((phase) => phase !== "verify")).toEqual(["download", "load"]);
  for (const phase of phases) {
    const last = reports.findLast((report) => report.phase === phase)!;
    expect([phase, last.doneBytes]).toEqual([phase, last.totalBytes]);
  }
  vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:1");
  expect(await logitsOf(id, { cacheDir, offline: true })).toEqual(expected);
});

test("it can be looked at and planned for without its weights, and nothing is kept", async () => {
  await using checkpoint = await openCheckpoint(id, { cacheDir });
  await using local = await openCheckpoint(goldenFolder("odd"));
  expect([...checkpoint.tensors.keys()]).toEqual([...local.tensors.keys()]);
  const plan = await planMemory(id, { cacheDir, backend: "reference" });
  expect(plan.weights).toEqual((await planMemory(goldenFolder("odd"), { backend: "reference" })).weights);
  expect(readdirSync(cacheDir)).toEqual([]);
  expect(hub.sentBytes).toBeLessThan(weights.length / 2);
  const first = local.tensors.values().next().value!.name;
  expect(await checkpoint.read(first)).toEqual(await local.read(first));
});

test("a token goes to the hub alone, and without one it says what to do", async () => {
  hub.fault = ({ server, authorization }, response) => {
    if (server === "cdn") return void expect(authorization).toBeUndefined();
    if (authorization === "Bearer hf_secret") return undefined;
    response.writeHead(401).end();
    return true;
  };
  for (const open of [loadModel, openCheckpoint])
    await expect(open(id, { cacheDir })).rejects.toMatchObject({ code: "LOAD", message: expect.stringMatching(/HF_TOKEN/) });
  await using model = await loadModel(id, { cacheDir, backend: "reference", token: "hf_secret" });
  await using checkpoint = await openCheckpoint(id, { cacheDir, token: "hf_secret" });
  expect(checkpoint.tensors.size).toBeGreaterThan(model.config.nLayers);
});
