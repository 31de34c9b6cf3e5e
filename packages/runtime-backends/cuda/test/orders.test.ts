// What holds in any order that a GPU may choose: work that is done when somebody waits for it, and shuffled blocks, warps and lanes.

import { testInvariants } from "@jamba/conformance";
import { afterAll, beforeAll, describe } from "vitest";
import { openCudaBackend } from "../src/index.ts";
import { onStandIn } from "./on-stand-in.ts";

const order = { JAMBA_STAND_IN_ORDER: "late", JAMBA_STAND_IN_SHUFFLED: "1" };

onStandIn((driver) => {
  describe("late and shuffled", () => {
    beforeAll(() => void Object.assign(process.env, order));
    afterAll(() => {
      for (const name of Object.keys(order)) delete process.env[name];
    });
    testInvariants({ open: () => openCudaBackend({ driver }) });
  });
});
