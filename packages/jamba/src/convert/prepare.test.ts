// Which model a prepared folder says it is of. What it loads as is proved in test/prepared.test.ts.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fingerprint, fingerprintsOf, openCheckpoint } from "@jamba/loader";
import { expect, test } from "vitest";
import { cpuAbsent, goldenFolder, openCpu } from "../../test/golden.ts";
import { packedName, preparedFormat, preparedOf } from "../load/prepared.ts";
import { prepareModel } from "./prepare.ts";

test("a prepared folder has the fingerprint of the model it was made from, in whatever dtype", async ({ skip }) => {
  if (cpuAbsent) skip(cpuAbsent);
  const root = await mkdtemp(join(tmpdir(), "prepare-"));
  const backend = await openCpu();
  await using source = await openCheckpoint(goldenFolder("odd"));
  const { model, sampled } = await fingerprintsOf(source);
  for (const dtype of ["f32", "q4"] as const) {
    await prepareModel(goldenFolder("odd"), join(root, dtype), { backend, dtype });
    await using folder = await openCheckpoint(join(root, dtype));
    const prepared = preparedOf(folder)!;
    expect([prepared.fingerprint, prepared.model]).toEqual([model, sampled]);
    expect(prepared.packed).toBe(await packedName(prepared, await fingerprint(folder)));
    expect(await fingerprint(folder)).not.toBe(model);
  }
  await backend.dispose();
  await rm(root, { recursive: true });
});

test("a folder that was prepared without one has none", () => {
  const weights = JSON.stringify({ w: { dtype: "f32", shape: [1] } });
  const metadata = new Map(Object.entries({ format: preparedFormat, dtype: "f32", layout: "rows", weights }));
  const tensors = new Map([["w", { name: "w", dtype: "U8", shape: [64], file: "f", offset: 0, sizeBytes: 64 }]]);
  expect(preparedOf({ name: "old", metadata, tensors })!.model).toBeUndefined();
});
