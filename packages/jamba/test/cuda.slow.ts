// The small model's texts on CUDA, behind the stand-in for its driver, where a token takes a second or more.

import { openCudaBackend } from "@jamba/backend-cuda";
import { expect, test } from "vitest";
import { findStandIn } from "../../../tooling/software-gpu/src/stand-in.ts";
import { referenceTexts, textsOf } from "./on-gpu.ts";

test("the small model writes the reference's text on the stand-in for CUDA", async ({ skip }) => {
  const found = findStandIn();
  if (typeof found === "string") return skip(found);
  const backend = await openCudaBackend({ driver: found.driver });
  expect(await textsOf(backend)).toEqual(await referenceTexts());
  await backend.dispose();
});
