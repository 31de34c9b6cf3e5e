import fc from "fast-check";
import { Hono } from "hono";
import { expect, test } from "vitest";
import { LazyList, lazily, piecesOf, sendJson } from "./json.ts";

const textOf = (value: object) => [...piecesOf(value)].join("");

test("pieces add up to what JSON.stringify gives", () => {
  const any = fc.anything({ maxDepth: 4, withDate: true, withBigInt: false, withNullPrototype: false });
  fc.assert(
    fc.property(fc.dictionary(fc.string(), any), (value) => {
      expect(textOf(value)).toBe(JSON.stringify(value));
    }),
    { seed: 5 },
  );
  const long = {
    text: 'a\ud83c\udf89"\n'.repeat(100_000),
    list: Array.from({ length: 5000 }, (_, i) => (i % 3 ? { i } : `${i}`)),
    numbers: Array.from({ length: 5000 }, (_, i) => (i === 777 ? Number.NaN : i / 3)),
    mixed: Array.from({ length: 600 }, (_, i) => (i === 300 ? undefined : i === 301 ? "x" : i)),
    u: [undefined],
    n: undefined,
  };
  expect(textOf(long) === JSON.stringify(long)).toBe(true);
  expect([...piecesOf(long)].length).toBeGreaterThan(10);
});

test("lazy lists are written as lists, an item at a time", () => {
  const made: number[] = [];
  const list = lazily([1, 2, 3], (i) => ({ i }));
  expect(textOf({ list })).toBe('{"list":[{"i":1},{"i":2},{"i":3}]}');
  expect(JSON.stringify({ list })).toBe('{"list":[{"i":1},{"i":2},{"i":3}]}');
  const pieces = piecesOf({ list: new LazyList(1_000_000, (i) => made.push(i)) });
  pieces.next();
  expect(made.length).toBeLessThan(20_000);
});

test("a long answer is written with turns for others between, and no further than it is read", async () => {
  let made = 0;
  const app = new Hono()
    .get("/long", (c) => sendJson(c, { list: new LazyList(200_000, () => `${made++}`) }))
    .get("/short", (c) => sendJson(c, { a: [1] }));
  const short = await app.request("/short");
  expect([short.headers.get("content-type"), await short.text()]).toEqual(["application/json", '{"a":[1]}']);
  const { body } = await app.request("/long");
  const reader = body!.getReader();
  await reader.read();
  const begun = made;
  expect(begun).toBeLessThan(50_000);
  let [turns, length] = [0, 0];
  const turn = () => {
    turns++;
    if (made < 200_000) setImmediate(turn);
  };
  setImmediate(turn);
  for (let next = await reader.read(); !next.done; next = await reader.read()) length += next.value.length;
  expect(length).toBeGreaterThan(1_000_000);
  expect(turns).toBeGreaterThan(10);
});
