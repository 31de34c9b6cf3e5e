import { expect, test } from "vitest";
import { readObject } from "./message-blocks.ts";

test("the input of a call that was cut is what there is of it", () => {
  const whole = { a: 'x,"{[', list: [1, { b: null }], c: "a longer text" };
  const text = JSON.stringify(whole);
  expect(readObject(text)).toEqual(whole);
  for (let end = 0; end < text.length; end++) {
    const found = readObject(text.slice(0, end)) as Partial<typeof whole>;
    if (found.a !== undefined) expect(whole.a.startsWith(found.a)).toBe(true);
    for (const key of Object.keys(found)) expect(Object.keys(whole)).toContain(key);
  }
  expect(readObject(text.slice(0, -5))).toEqual({ ...whole, c: "a longer t" });
  expect(readObject("[1]")).toEqual({});
});
