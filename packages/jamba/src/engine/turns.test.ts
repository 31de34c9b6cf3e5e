// Whose turn it is: nobody is served more than once more than another who waits, and none waits for ever.

import fc from "fast-check";
import { expect, test } from "vitest";
import { Admission } from "./admission.ts";
import { inTurn, type Party } from "./turns.ts";

const settled = () => new Promise((resolve) => setImmediate(resolve));

const one = fc.record({
  tenant: fc.constantFrom(undefined, "a", "b"),
  request: fc.constantFrom(undefined, "x", "y"),
  due: fc.nat(9),
});

test("turns go to who had the fewest, tenants first and requests of each tenant then; what is alike goes by when it is due", () => {
  fc.assert(
    fc.property(fc.array(one, { maxLength: 20 }), fc.array(one, { maxLength: 6 }), (waiting, running) => {
      const line = inTurn(waiting, ({ due }) => due, running);
      expect(new Set(line)).toEqual(new Set(waiting));
      const had = [...running];
      for (const [at, next] of line.entries()) {
        const tenants = (tenant: unknown) => had.filter((other) => other.tenant === tenant).length;
        const requests = ({ tenant, request }: Party) =>
          request === undefined ? 0 : had.filter((other) => other.tenant === tenant && other.request === request).length;
        for (const other of line.slice(at)) {
          expect(tenants(next.tenant)).toBeLessThanOrEqual(tenants(other.tenant));
          if (next.tenant === other.tenant) expect(requests(next)).toBeLessThanOrEqual(requests(other));
        }
        had.push(next);
      }
    }),
    { seed: 31, numRuns: 500 },
  );
});

test("without tenants and requests the order is that in which calls are due", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ due: fc.nat(9), tenant: fc.constant(undefined) })), (waiting) => {
      expect(inTurn(waiting, ({ due }) => due)).toEqual([...waiting].sort((a, b) => a.due - b.due));
    }),
    { seed: 32 },
  );
});

test("63 calls enter beside a request of 128 as soon as one of it has left for each, and the request goes on", async () => {
  const admission = new Admission({ sequences: 4, tokens: 1e6, bytes: 1e6 });
  const order: string[] = [];
  const leaves: (() => void)[] = [];
  const enter = (name: string, request: unknown, due: number) =>
    admission.enter({ tokens: 1, bytes: 1 }, { request, due }).then((leave) => {
      order.push(name);
      leaves.push(leave);
    });
  const all = Array.from({ length: 128 }, (_, i) => enter("many", "many", i));
  await settled();
  all.push(...Array.from({ length: 63 }, (_, i) => enter("one", undefined, 1000 + i)));
  while (order.length < 191) {
    leaves.shift()!();
    await settled();
  }
  await Promise.all(all);
  // Four of the request were in before; from then on it has one place of four.
  expect(order.lastIndexOf("one")).toBeLessThan(4 + 63 + 24);
  expect(order.slice(4, 67).filter((name) => name === "many").length).toBeLessThanOrEqual(20);
});

test("a large call is not overtaken for ever by small ones of others", async () => {
  const admission = new Admission({ sequences: 8, tokens: 100, bytes: 1e6 });
  const enter = (tokens: number, tenant: string, due: number) => admission.enter({ tokens, bytes: 1 }, { tenant, due });
  let small = [await enter(10, "b", 0), await enter(10, "c", 0)];
  let isIn = false;
  const large = enter(100, "a", 1).then((leave) => {
    isIn = true;
    return leave;
  });
  let rounds = 0;
  const waiting: Promise<() => void>[] = [];
  for (let due = 2; !isIn && rounds < 20; rounds++) {
    waiting.push(enter(10, "b", due++), enter(10, "c", due++), enter(10, `new ${due}`, due++));
    for (const leave of small) leave();
    small = [];
    await settled();
  }
  expect(rounds).toBe(1);
  (await large)();
  for (const leave of await Promise.all(waiting)) leave();
  expect(admission.counts()).toEqual({ running: 0, waiting: 0 });
});
