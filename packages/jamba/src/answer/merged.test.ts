import { expect, test, vi } from "vitest";
import { merged } from "./merged.ts";

async function* counted(count: number, wait: () => Promise<unknown>, end: string): AsyncGenerator<number, string> {
  for (let i = 0; i < count; i++) {
    await wait();
    yield i;
  }
  return end;
}
const turn = () => new Promise(setImmediate);

test("all that streams give comes, in the order of each, with their ends", async () => {
  const seen: unknown[][] = [[], [], []];
  for await (const { at, found } of merged([3, 0, 5].map((count, i) => counted(count, turn, `end ${i}`)))) seen[at].push(found.value);
  expect(seen).toEqual([[0, 1, 2, "end 0"], ["end 1"], [0, 1, 2, 3, 4, "end 2"]]);
});

test("what comes first is given first, whoever waits", async () => {
  let release!: () => void;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const order: number[] = [];
  for await (const { at, found } of merged([counted(1, () => held, ""), counted(2, turn, "")])) {
    order.push(at);
    if (at === 1 && found.done) release();
  }
  expect(order).toEqual([1, 1, 1, 0, 0]);
});

test("the first failure ends it", async () => {
  async function* fails(): AsyncGenerator<number, string> {
    yield 1;
    throw new Error("broken");
  }
  const all = merged([fails(), counted(1, () => new Promise(() => undefined), "")]);
  expect(await all.next()).toMatchObject({ value: { at: 0 } });
  await expect(all.next()).rejects.toThrow("broken");
});

test("one that waits has nothing to do with what the others gave meanwhile", async () => {
  const waiting = new Promise<IteratorResult<number, string>>(() => undefined);
  const then = vi.spyOn(waiting, "then"); // which each Promise.race would call
  const all = merged([{ next: () => waiting }, counted(1000, async () => undefined, "")]);
  for (let i = 0; i < 1001; i++) await all.next();
  expect(then.mock.calls.length).toBeLessThan(2);
});
