import { openReference } from "@jamba/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { PagedAllocator } from "./paged-allocator.ts";

async function open() {
  const store = await openReference().createStates({
    layers: [{ kind: "attention", nKvHeads: 1, headDim: 1 }],
    pageTokens: 2,
    kvDtype: "f32",
  });
  return new PagedAllocator(store, { slots: 2, pages: 3 });
}

test("whatever is taken, shared and released: nobody gets what another holds, and at the end nothing is in use", async () => {
  const action = fc.record({ kind: fc.constantFrom("new", "grow", "fork", "end"), who: fc.nat(20), pages: fc.nat(5) });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 60 }), async (actions) => {
      const allocator = await open();
      const held: { slot: number; pages: number[] }[] = [];
      for (const { kind, who, pages } of actions) {
        const one = held[who % Math.max(1, held.length)];
        if (kind === "new") held.push({ slot: await allocator.takeSlot(), pages: await allocator.takePages(pages) });
        else if (one && kind === "grow") {
          const before = new Set(held.flatMap((h) => h.pages));
          const more = await allocator.takePages(pages);
          for (const page of more) expect(before.has(page)).toBe(false);
          one.pages.push(...more);
        } else if (one && kind === "fork") {
          allocator.share(one.pages);
          held.push({ slot: await allocator.takeSlot(), pages: [...one.pages] });
        } else if (one) {
          held.splice(held.indexOf(one), 1);
          allocator.release(one.slot, one.pages);
        }
        expect(new Set(held.map((h) => h.slot)).size).toBe(held.length);
        expect(allocator.used).toEqual({ slots: held.length, pages: new Set(held.flatMap((h) => h.pages)).size });
        for (const page of new Set(held.flatMap((h) => h.pages))) {
          expect(allocator.isShared(page)).toBe(held.filter((h) => h.pages.includes(page)).length > 1);
        }
      }
      for (const { slot, pages } of held) allocator.release(slot, pages);
      expect(allocator.used).toEqual({ slots: 0, pages: 0 });
      expect([allocator.store.nSlots <= 2, allocator.store.nPages <= 3]).toEqual([true, true]);
    }),
    { seed: 3, numRuns: 500 },
  );
});

test("releasing what is not in use is refused", async () => {
  const allocator = await open();
  const slot = await allocator.takeSlot();
  allocator.release(slot, []);
  expect(() => allocator.release(slot, [])).toThrow(expect.objectContaining({ code: "BACKEND" }));
  expect(() => allocator.releasePages([0])).toThrow(expect.objectContaining({ code: "BACKEND" }));
});

test("what is free at the end goes back to the system while some is held, and nobody loses what it holds", async () => {
  const allocator = await open();
  // All at once: nobody may get what another's growth made for it.
  const take = async () => ({ slot: await allocator.takeSlot(), pages: await allocator.takePages(4) });
  const held = await Promise.all(Array.from({ length: 100 }, take));
  expect([new Set(held.map(({ slot }) => slot)).size, new Set(held.flatMap(({ pages }) => pages)).size]).toEqual([100, 400]);
  const [nSlots, nPages] = [allocator.store.nSlots, allocator.store.nPages];
  for (const { slot, pages } of held.splice(10)) allocator.release(slot, pages);
  for (let i = 0; i < 64; i++) allocator.release(await allocator.takeSlot(), await allocator.takePages(2));
  expect([allocator.store.nSlots < nSlots / 2, allocator.store.nPages < nPages / 2]).toEqual([true, true]);
  for (const { slot, pages } of held) {
    expect(slot).toBeLessThan(allocator.store.nSlots);
    for (const page of pages) expect(page).toBeLessThan(allocator.store.nPages);
  }
  const more = await allocator.takePages(300);
  expect(new Set([...more, ...held.flatMap(({ pages }) => pages)]).size).toBe(340);
});
