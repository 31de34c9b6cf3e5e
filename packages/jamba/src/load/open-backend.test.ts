// What "auto" takes, what it passes over, and that it says so: why, what that costs, what to do.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "@jamba/loader";
import { afterEach, describe, expect, test, vi } from "vitest";
import { family } from "../../test/family.ts";
import { cpuAbsent, goldenFolder } from "../../test/golden.ts";
import { prepareModel } from "../convert/prepare.ts";
import { planMemory } from "../plan/plan-memory.ts";
import { loadModel } from "./load-model.ts";
import { listDevices } from "./open-backend.ts";

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

const folder = goldenFolder("one-token");
const withoutAddon = () => vi.stubEnv("JAMBA_CPU_ADDON", "/nowhere/jamba.node");
/** As an engine without SIMD says. */
const withoutWasm = () => vi.spyOn(WebAssembly, "validate").mockReturnValue(false);

const passedCpu = expect.stringMatching(/^cpu can't be used: .* at \/nowhere\/jamba\.node, found none; build them with a C\+\+ compiler: /);
const passedWasm = expect.stringMatching(/^wasm can't be used: .*expected WebAssembly with SIMD, .* found none$/);

/** Loads, and says what it is held on and what was told to whom. */
async function loaded(options: Parameters<typeof loadModel>[1]) {
  const heard: string[] = [];
  const toStderr = vi.spyOn(console, "warn").mockImplementation(() => undefined);
  await using model = await loadModel(folder, { onWarning: (warning) => heard.push(warning), ...options });
  const { kind, passedOver = [], warnings = [] } = model.device;
  return { kind, passedOver, warnings, heard, told: model.warnings, stderr: toStderr.mock.calls.map(([line]) => line) };
}

describe("where all work", () => {
  test("auto takes the native kernels, and tells of nothing", async ({ skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    expect(await loaded({})).toEqual({ kind: "cpu", passedOver: [], warnings: [], heard: [], told: [], stderr: [] });
  });

  test.for(["cpu", "wasm", "reference"] as const)("%s by name is what one gets, and nothing was passed over", async (backend, { skip }) => {
    if (backend === "cpu" && cpuAbsent) skip(cpuAbsent);
    expect(await loaded({ backend })).toMatchObject({ kind: backend, passedOver: [], heard: [] });
  });

  test("devices are listed fastest first", async () => {
    const all = await listDevices();
    expect(all.map(({ backend }) => backend)).toEqual(["cuda", "webgpu", "cpu", "wasm", "reference"]);
    expect(all.find(({ backend }) => backend === "wasm")).toMatchObject({
      usable: true,
      device: { kind: "wasm", name: /^WebAssembly, / },
    });
  });
});

describe("where the native kernels are missing", () => {
  const cost = "wasm runs instead, which takes about 2 to 3 times as long";

  test("auto takes WebAssembly and says why, what it costs and what to do, once", async () => {
    withoutAddon();
    const { kind, passedOver, heard, told, stderr } = await loaded({});
    expect([kind, passedOver]).toEqual(["wasm", [passedCpu, cost]]);
    expect(heard).toEqual([passedOver.join("; ")]);
    expect([told, stderr]).toEqual([heard, []]);
    expect((await listDevices()).find(({ backend }) => backend === "cpu")).toMatchObject({ usable: false, reason: /\/nowhere/ });
  });

  test("on stderr where nobody listens", async () => {
    withoutAddon();
    const { passedOver, stderr } = await loaded({ onWarning: undefined });
    expect(stderr).toEqual([passedOver.join("; ")]);
  });

  test.each([{ dtype: "q4" }, { dtype: "experts-int8" }, { threads: 3 }] as const)("%j is done by WebAssembly", async (options) => {
    withoutAddon();
    expect(await loaded(options)).toMatchObject({ kind: "wasm" });
  });

  test("models are prepared, and cpu by name fails", async () => {
    withoutAddon();
    const to = await mkdtemp(join(tmpdir(), "prepared-"));
    try {
      expect(await prepareModel(folder, join(to, "model"), { dtype: "q4" })).toMatchObject({ dtype: "q4" });
    } finally {
      await rm(to, { recursive: true });
    }
    await expect(loadModel(folder, { backend: "cpu" })).rejects.toMatchObject({
      code: "BACKEND",
      message: expect.stringMatching(/expected cpu to be usable here, found: .*cpu: .*found none; build them/),
    });
  });
});

describe("where WebAssembly is missing, too", () => {
  const cost = "reference runs instead, which takes about 15 to 40 times as long";

  test("auto takes the reference for a small model, and says all of it", async () => {
    withoutAddon();
    withoutWasm();
    const { kind, passedOver, heard } = await loaded({});
    expect([kind, passedOver]).toEqual(["reference", [passedCpu, passedWasm, cost]]);
    expect(heard).toEqual([passedOver.join("; ")]);
  });

  test.each([{ dtype: "q4" }, { dtype: "experts-int8" }, { threads: 3 }] as const)("%j is refused with the reasons", async (options) => {
    withoutAddon();
    withoutWasm();
    await expect(loadModel(folder, { ...options, onWarning: () => undefined })).rejects.toThrow(
      /cpu can't be used: .*found none; build them.*wasm can't be used: /,
    );
  });

  test("a large model is refused before anything of it is read, unless the reference is asked for by name", async () => {
    withoutAddon();
    withoutWasm();
    const { config } = family.find(({ name }) => name.includes("3B"))!;
    const blob = (name: string, content: BlobPart) => ({ name, blob: new Blob([content]) });
    const tensor = { name: "model.final_layernorm.weight", dtype: "F32" as const, shape: [1], bytes: new Uint8Array(4) };
    const files = [blob("config.json", JSON.stringify(config)), blob("model.safetensors", writeSafetensors([tensor]) as BlobPart)];
    const refused = expect.objectContaining({
      code: "BACKEND",
      message: expect.stringMatching(
        /^backend: expected a faster device than the reference for 3\.0 billion parameters, found cpu can't be used: .*; wasm can't be used: .*; mend that, or ask for backend: "reference", which takes seconds a token/,
      ),
    });
    await expect(loadModel(files)).rejects.toEqual(refused);
    await expect(planMemory(config)).rejects.toEqual(refused);
    expect(await planMemory(config, { backend: "reference" })).toMatchObject({ backend: "reference" });
    await expect(loadModel(files, { backend: "reference" })).rejects.toMatchObject({ code: "LOAD" }); // of the files, which hold no such model
  });

  test("wasm by name fails", async () => {
    withoutWasm();
    await expect(loadModel(folder, { backend: "wasm" })).rejects.toMatchObject({
      code: "BACKEND",
      message: /wasm: wasm backend: expected/,
    });
  });
});

test("what a device warns of is told", async () => {
  // As in a page that is not isolated.
  vi.stubGlobal("crossOriginIsolated", false);
  try {
    const { warnings, heard, passedOver } = await loaded({ backend: "wasm", threads: undefined });
    const { availableParallelism } = await import("node:os");
    if (availableParallelism() > 1) expect(warnings).toEqual([expect.stringMatching(/^wasm: 1 thread: .* send the headers /)]);
    expect([heard, passedOver]).toEqual([warnings, []]);
  } finally {
    vi.unstubAllGlobals();
  }
});

test("a level that no processor has ends auto too: nothing falls back in silence", async ({ skip }) => {
  if (cpuAbsent) skip(cpuAbsent);
  vi.stubEnv("JAMBA_CPU_LEVEL", "avx9");
  await expect(loadModel(folder)).rejects.toThrow(/JAMBA_CPU_LEVEL: expected one .* found "avx9"/);
});
