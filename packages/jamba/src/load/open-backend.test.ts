import { afterEach, describe, expect, test, vi } from "vitest";
import { cpuAbsent, goldenFolder } from "../../test/golden.ts";
import { prepareModel } from "../convert/prepare.ts";
import { loadModel } from "./load-model.ts";
import { listDevices } from "./open-backend.ts";

afterEach(() => vi.unstubAllEnvs());

describe("where the native kernels are missing", () => {
  const why = /cpu can't be used: .*found none; build them/;
  const missing = () => vi.stubEnv("JAMBA_CPU_ADDON", "/nowhere/jamba.node");

  test("auto takes the reference and says why", async () => {
    missing();
    await using model = await loadModel(goldenFolder("one-token"));
    expect(model.device).toMatchObject({ kind: "reference", passedOver: [expect.stringMatching(why)] });
    expect((await listDevices()).find(({ backend }) => backend === "cpu")).toMatchObject({ usable: false, reason: /\/nowhere/ });
  });

  test.each([{ dtype: "q4" }, { dtype: "experts-int8" }, { threads: 3 }] as const)(
    "%j is refused with the same reason",
    async (options) => {
      missing();
      await expect(loadModel(goldenFolder("one-token"), options)).rejects.toThrow(why);
    },
  );

  test("so is preparing, and cpu by name", async () => {
    missing();
    await expect(prepareModel(goldenFolder("one-token"), "/nowhere/model", { dtype: "f32" })).rejects.toThrow(why);
    await expect(loadModel(goldenFolder("one-token"), { backend: "cpu" })).rejects.toThrow(/cpu: .*found none; build them/);
  });
});

test("a level that no processor has ends auto too: nothing falls back in silence", async ({ skip }) => {
  if (cpuAbsent) skip(cpuAbsent);
  vi.stubEnv("JAMBA_CPU_LEVEL", "avx9");
  await expect(loadModel(goldenFolder("one-token"))).rejects.toThrow(/JAMBA_CPU_LEVEL: expected one .* found "avx9"/);
});
