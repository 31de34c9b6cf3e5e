import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { JambaModel } from "jamba";
import { expect, test } from "vitest";
import { Slots } from "./slots.ts";

test("a slot lets its conversation go also where the file of it can't be removed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "slots-"));
  // Files are removed, and a folder is not.
  const session = {
    tokens: [1, 2],
    save: async (path: string) => mkdirSync(path),
    stream: () => undefined,
    dispose: async () => undefined,
  };
  const model = { session: () => session } as unknown as JambaModel;
  const slots = new Slots(folder, 1);
  slots.at(0).stream(model, [], {}, {});
  await slots.sleep(folder);
  expect(slots.at(0).tokens).toBe(2);
  await slots.at(0).erase();
  expect(slots.at(0).tokens).toBe(0);
  rmSync(folder, { recursive: true });
});
