import { expect, test } from "vitest";
import { expectBounded, maxItems, maxValues } from "./bounds.ts";

const listOf = (length: number, item: string) => `[${Array(length).fill(item).join(",")}]`;
const levels = (count: number) => "[".repeat(count) + "]".repeat(count);

test.for([
  ["texts", listOf(maxValues - 1, '"a,b"')],
  ["objects", listOf(maxValues - 1, "{}")],
  ["words", listOf(maxValues - 1, "null")],
  ["members", `{${Array.from({ length: maxValues - 1 }, (_, i) => `"${i}":0`)}}`],
  ["numbers", listOf(maxItems + 1, "-1e5")],
  ["levels", levels(64)],
])("as many %s as there may be, and no more", ([what, text]) => {
  expectBounded(text);
  const [status, message] = what === "levels" ? [400, /64 levels/] : [413, /expected at most \d+ /];
  expect(() => expectBounded(what === "numbers" ? text.replace("[", "[0,") : `[${text}]`)).toThrow(
    expect.objectContaining({ status, message: expect.stringMatching(message) }),
  );
});

test("what stands in a text is not counted", () => {
  expectBounded(JSON.stringify(['"[{,true\\'.repeat(maxItems)]));
  for (const broken of ['"', '"\\', "", "]]]]"]) expectBounded(broken);
});
