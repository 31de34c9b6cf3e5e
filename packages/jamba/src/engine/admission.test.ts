// Who enters when: the limits hold whatever comes and goes, and nobody who could enter is left standing.

import fc from "fast-check";
import { expect, test } from "vitest";
import { Admission } from "./admission.ts";

/** Lets all promises that can settle do so. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

const limits = { sequences: 3, tokens: 100, bytes: 1000 };

interface Call {
  readonly need: { tokens: number; bytes: number };
  readonly due: number;
  readonly order: number;
  readonly abort: AbortController;
  leave?: () => void;
  error?: unknown;
}

const action = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("enter" as const),
      // Some fit in no company, some not even within the limits.
      tokens: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 90, max: 200 })),
      bytes: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 900, max: 2000 })),
      due: fc.integer({ min: 0, max: 5 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("leave" as const), who: fc.nat(99) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("abort" as const), who: fc.nat(99) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("settle" as const) }) },
);

test("whatever enters, leaves and gives up: limits hold, order is that of due, and nobody who fits waits", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 50 }), async (actions) => {
      const admission = new Admission(limits);
      const calls: Call[] = [];
      const entered: Call[] = [];
      const running = () => entered.filter((call) => call.leave);
      const waiting = () => calls.filter((call) => !call.leave && !call.error && !entered.includes(call));
      const fits = ({ need }: Call) => {
        const all = running();
        const sum = (of: "tokens" | "bytes") => all.reduce((n, call) => n + call.need[of], need[of]);
        return all.length === 0 || (all.length < limits.sequences && sum("tokens") <= limits.tokens && sum("bytes") <= limits.bytes);
      };
      const check = async () => {
        await settled();
        const all = running();
        expect(admission.counts()).toEqual({ running: all.length, waiting: waiting().length });
        if (all.length > 1) {
          expect(all.length).toBeLessThanOrEqual(limits.sequences);
          expect(all.reduce((n, { need }) => n + need.tokens, 0)).toBeLessThanOrEqual(limits.tokens);
          expect(all.reduce((n, { need }) => n + need.bytes, 0)).toBeLessThanOrEqual(limits.bytes);
        }
        const [first] = waiting().sort((a, b) => a.due - b.due || a.order - b.order);
        if (first) expect(fits(first)).toBe(false);
      };
      const enter = (call: Call) => {
        calls.push(call);
        admission.enter(call.need, call, call.abort.signal).then(
          (leave) => {
            // Nobody who came before and is due sooner stands behind.
            const passed = waiting().filter((other) => other.order < call.order && other.due <= call.due && other !== call);
            expect(passed).toEqual([]);
            call.leave = leave;
            entered.push(call);
          },
          (error) => {
            call.error = error;
          },
        );
      };
      for (const one of actions) {
        if (one.kind === "enter") {
          const { tokens, bytes, due } = one;
          enter({ need: { tokens, bytes }, due, order: calls.length, abort: new AbortController() });
        } else if (one.kind === "leave" && running().length > 0) {
          const call = running()[one.who % running().length];
          const { leave } = call;
          call.leave = undefined;
          leave!();
          leave!(); // a second time changes nothing
        } else if (one.kind === "abort" && calls.length > 0) {
          calls[one.who % calls.length].abort.abort(new Error("enough"));
        } else await check();
      }
      await check();
      for (const call of calls) if (call.error) expect((call.error as Error).message).toBe("enough");
      while (running().length > 0) {
        const call = running()[0];
        const { leave } = call;
        call.leave = undefined;
        leave!();
        await check();
      }
      expect(admission.counts()).toEqual({ running: 0, waiting: 0 });
      expect(calls.filter((call) => !call.error && !entered.includes(call))).toEqual([]);
    }),
    { seed: 21, numRuns: 300 },
  );
});

test("who gives up in line rejects with the signal's reason and lets those behind it in", async () => {
  const admission = new Admission(limits);
  const leave = await admission.enter({ tokens: 50, bytes: 1 }, { due: 0 });
  const large = new AbortController();
  const refused = admission.enter({ tokens: 80, bytes: 1 }, { due: 1 }, large.signal).catch((error) => error);
  let small = false;
  const behind = admission.enter({ tokens: 20, bytes: 1 }, { due: 2 }).then((leave) => {
    small = true;
    return leave;
  });
  await settled();
  expect(small).toBe(false);
  const reason = new Error("enough");
  large.abort(reason);
  expect(await refused).toBe(reason);
  (await behind)();
  leave();
  expect(admission.counts()).toEqual({ running: 0, waiting: 0 });
  await expect(admission.enter({ tokens: 1, bytes: 1 }, { due: 0 }, large.signal)).rejects.toBe(reason);
  expect(admission.counts()).toEqual({ running: 0, waiting: 0 });
});

test("close refuses those in line; those who are in may leave", async () => {
  const admission = new Admission({ ...limits, sequences: 1 });
  const leave = await admission.enter({ tokens: 1, bytes: 1 }, { due: 0 });
  const refused = [1, 2].map((due) => admission.enter({ tokens: 1, bytes: 1 }, { due }).catch((error) => error.code));
  admission.close();
  expect(await Promise.all(refused)).toEqual(["DISPOSED", "DISPOSED"]);
  leave();
  expect(admission.counts()).toEqual({ running: 0, waiting: 0 });
});
