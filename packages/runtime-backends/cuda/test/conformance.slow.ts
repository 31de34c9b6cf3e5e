// Every format, with what a GPU may do in any order done in others: queued work when somebody waits for it, and blocks, warps and lanes shuffled.

import { testOps } from "@jamba/conformance";
import { describe } from "vitest";
import { openCudaBackend } from "../src/index.ts";
import { onStandIn } from "./on-stand-in.ts";

onStandIn((driver) => {
  describe.each([
    ["at once", {}],
    ["late", { JAMBA_STAND_IN_ORDER: "late" }],
    ["late and shuffled", { JAMBA_STAND_IN_ORDER: "late", JAMBA_STAND_IN_SHUFFLED: "1" }],
  ])("%s", (_, order) => testOps({ open: () => openInOrder(driver, order) }));
});

/** The stand-in looks at the environment when it is opened. */
async function openInOrder(driver: string, order: Record<string, string>) {
  Object.assign(process.env, order);
  try {
    return await openCudaBackend({ driver });
  } finally {
    for (const name of Object.keys(order)) delete process.env[name];
  }
}
