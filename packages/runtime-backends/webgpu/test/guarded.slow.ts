// Every op and layer between guards and on poison.

import { testOps } from "@jamba/conformance";
import { describe } from "vitest";
import { onAdapter } from "./adapter.ts";
import { openGuarded } from "./guarded.ts";

onAdapter((adapter) => {
  testOps({ dtypes: ["f32", "q8", "q4"], open: () => openGuarded(adapter) });
  describe("in bindings of 512 bytes", () =>
    testOps({ dtypes: ["f32", "q4"], open: () => openGuarded(adapter, { mostBindingBytes: 512 }) }));
});
