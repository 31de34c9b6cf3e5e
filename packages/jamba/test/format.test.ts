// A format on its own: what it takes, what may follow, and what it leaves open.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { type JambaModel, loadModel } from "../src/index.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

const colours = {
  type: "object",
  properties: { colour: { enum: ["dark blue", "dark green", "light grey"] }, size: { type: "integer", minimum: 1, maximum: 3 } },
  required: ["colour"],
} as const;

describe("a format", () => {
  test("takes whole answers and nothing else", async () => {
    const format = await model.format({ type: "json", schema: colours });
    for (const text of ['{"colour": "dark blue"}', '{"colour": "light grey", "size": 3}']) expect(await format.accepts(text)).toBe(true);
    for (const text of ["", "{", '{"colour": "dark"}', '{"colour": "dark blue"} ', '{"colour": "dark blue", "size": 4}', "null"])
      expect(await format.accepts(text)).toBe(false);
  });

  test("tells what may follow, each choice as far as it is none", async () => {
    const format = await model.format({ type: "json", schema: colours });
    expect(await format.completions("")).toEqual(['{"colour": "']);
    expect(await format.completions('{"colour": "')).toEqual(["dark ", 'light grey"']);
    expect(await format.completions('{"colour": "dark ')).toEqual(['blue"', 'green"']);
    expect(await format.completions('{"colour": "dark blue"')).toEqual([', "size": ', "}"]);
    expect(await format.completions('{"colour": "red')).toEqual([]);
    expect(await format.completions('{"colour": "dark blue"}')).toEqual([]);
    const free = await model.format({ type: "json", schema: { type: "object", properties: { a: { type: "string" } }, required: ["a"] } });
    expect(await free.completions('{"a": "x')).toEqual([]);
  });

  test("of a pattern or a grammar", async () => {
    const date = await model.format({ type: "regex", pattern: "\\d{4}-\\d{2}" });
    expect([await date.accepts("2026-11"), await date.accepts("2026-11-30")]).toEqual([true, false]);
    expect(await date.completions("2026")).toEqual(["-"]);
    const colour = await model.format({ type: "grammar", grammar: 'root ::= "é" ("1" | "2")' });
    expect(await colour.completions("")).toEqual(["é"]);
    expect(await colour.completions("é")).toEqual(["1", "2"]);
  });

  test("says what it leaves open, and what is strict leaves nothing", async () => {
    const schema = { type: "array", items: { type: "number" }, uniqueItems: true };
    expect((await model.format({ type: "json", schema })).notEnforced).toEqual(["format.schema.uniqueItems"]);
    await expect(model.format({ type: "json", schema, strict: true })).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(/^format\.schema\.uniqueItems: expected .*, found /),
    });
    expect((await model.format({ type: "json", schema: z.object({ a: z.email() }), strict: true })).notEnforced).toEqual([]);
  });

  test("of a model that was disposed says so, and not that a text does not fit", async () => {
    const own = await loadModel("tiny");
    const format = await own.format({ type: "json", schema: colours });
    await own.dispose();
    for (const ask of [format.accepts("{}"), format.completions(""), format.lengthThatFits("{")])
      await expect(ask).rejects.toMatchObject({ code: "DISPOSED" });
  });

  test("is checked as in generate, and ends with its signal", async () => {
    await expect(model.format({ type: "xml" } as never)).rejects.toMatchObject({ code: "OPTION" });
    await expect(model.format({ type: "json" }, { signal: AbortSignal.abort(new Error("gone")) })).rejects.toThrow("gone");
  });
});

test("a model that reads its vocabulary when it is first needed says the same", async () => {
  await using lazy = await loadModel("tiny", { formats: "when-used" });
  const options = { format: { type: "json", schema: colours }, maxTokens: 60 } as const;
  const [a, b] = await Promise.all([lazy, model].map((one) => one.generate([{ role: "user", content: "Which colour?" }], options)));
  expect(a.ids).toEqual(b.ids);
  expect(a.timings.formatMs).toBeGreaterThan(0);
  await expect(loadModel("tiny", { formats: "never" as never })).rejects.toMatchObject({ code: "OPTION" });
});
