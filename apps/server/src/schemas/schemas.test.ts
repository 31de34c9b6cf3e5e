import fc from "fast-check";
import { expect, test } from "vitest";
import { z } from "zod";
import { tokenIds } from "./fields.ts";
import { kinds } from "./kinds.ts";
import { list, record } from "./list.ts";

const a = z.object({ type: z.literal("a").nullish(), text: z.string().min(1) });
const b = z.object({ type: z.enum(["b", "c"]), count: z.int().min(0) }).transform(({ count }) => count);
const other = z.object({ type: z.string().regex(/^[^abc]/) });
const id = z
  .int()
  .min(0)
  .max(2 ** 31 - 1);

/** Ours beside zod's own. */
const pairs: readonly (readonly [string, z.ZodType, z.ZodType])[] = [
  ["list", list(a).min(1).max(3), z.array(a).min(1).max(3)],
  ["list of lists", list(list(b)), z.array(z.array(b))],
  ["ids", tokenIds.min(1), z.array(id).min(1)],
  ["kinds", kinds([a, b, other]), z.union([a, b, other])],
  ["list of kinds", list(kinds([a, b, other])), z.array(z.union([a, b, other]))],
  ["record", record(z.string().regex(/^\d+$/), id), z.record(z.string().regex(/^\d+$/), id)],
];

const leaf = fc.constantFrom<unknown>("a", "", 0, 7, -1, 1.5, 2 ** 31, null, true);
const object = fc.record({ type: fc.constantFrom<unknown>("a", "b", "c", "d", null, 1), text: leaf, count: leaf }, { requiredKeys: [] });
const entries = fc.dictionary(fc.constantFrom("1", "22", "x", "__proto__"), leaf);
const item = fc.oneof(leaf, object, fc.array(object, { maxLength: 3 }));
const value = fc.oneof(item, entries, fc.array(fc.nat(), { maxLength: 4 }), fc.array(item, { maxLength: 4 }));

test.for(pairs)("%s: values, first errors and documents as zod's", ([, ours, theirs]) => {
  expect(z.toJSONSchema(ours, { io: "input" })).toEqual(z.toJSONSchema(theirs, { io: "input" }));
  const property = fc.asyncProperty(value, async (given) => {
    const [mine, its] = [ours, theirs].map((schema) => schema.safeParse(given));
    const awaited = await ours.safeParseAsync(given);
    expect([awaited.data, awaited.error?.issues]).toEqual([mine.data, mine.error?.issues]);
    expect(mine.data).toEqual(its.data);
    if (its.error?.issues[0].code !== "invalid_union") expect(mine.error?.issues[0]).toEqual(its.error?.issues[0]);
  });
  return fc.assert(property, { numRuns: 500, seed: 8 });
});

test("one error is told of many", () => {
  const many = Array(1000).fill(-1);
  expect(tokenIds.safeParse(many).error?.issues).toHaveLength(1);
  expect(list(z.string()).safeParse(many).error?.issues).toHaveLength(1);
  expect(record(z.string(), z.string()).safeParse({ ...many }).error?.issues).toHaveLength(1);
});

test("where it may wait, a long list lets others have their turns", async () => {
  const slow = z.string().check(() => {
    for (const start = performance.now(); performance.now() - start < 1; );
  });
  let turns = 0;
  const count = setInterval(() => turns++, 1);
  const nested = z.object({ lists: list(kinds([z.object({ type: z.literal("a"), texts: list(slow) })])) });
  await nested.parseAsync({ lists: Array(10).fill({ type: "a", texts: Array(20).fill("x") }) });
  clearInterval(count);
  expect(turns).toBeGreaterThan(5);
});
