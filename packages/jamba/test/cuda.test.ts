// Whole models on CUDA, behind the stand-in for its driver. The small model's texts are in the slow ring (cuda.slow.ts).

import { openCudaBackend } from "@jamba/backend-cuda";
import type { Backend } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findStandIn } from "../../../tooling/software-gpu/src/stand-in.ts";
import { loadModel } from "../src/index.ts";
import { goldenFolder } from "./golden.ts";
import { expectGolden } from "./on-gpu.ts";

const found = findStandIn();
if (typeof found === "string") test("models on CUDA", ({ skip }) => skip(found));
else describe("stand-in for CUDA", () => testModels(found.driver));

function testModels(driver: string): void {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openCudaBackend({ driver });
  });
  afterAll(() => backend.dispose());

  test.each(["base", "odd", "one-token"] as const)("golden %s", (name) => expectGolden(name, backend));

  test("who loads a model hears that it has not run on hardware", async () => {
    const said: string[] = [];
    await using _ = await loadModel(goldenFolder("one-token"), { backend, onWarning: (warning) => said.push(String(warning)) });
    expect(said.join("\n")).toMatch(/not yet run on hardware/);
  });
}
