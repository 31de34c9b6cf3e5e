// Every op and layer between guards and on poison, in every dtype of weights, keys and values.

import { testOps } from "@jamba/conformance";
import { describe } from "vitest";
import { onAdapter } from "./adapter.ts";
import { openGuarded } from "./guarded.ts";

onAdapter((adapter) => {
  testOps({ open: () => openGuarded(adapter) });
  describe("in bindings of 512 bytes", () => testOps({ open: () => openGuarded(adapter, { mostBindingBytes: 512 }) }));
});
