// Tools that run and answers as values, on the small model.

import * as v from "valibot";
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import * as z from "zod";
import { z as z3 } from "zod-3";
import { type JambaModel, loadModel, type ToolResult } from "../src/index.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

const ask = [{ role: "user", content: "Where is the ring?" }] as const;
const find = z.object({ what: z.enum(["ring", "bell"]) });

describe("tools that run", () => {
  const tools = {
    find: { description: "Finds a thing.", parameters: find, run: ({ what }: z.infer<typeof find>) => `The ${what} is in the well.` },
  };

  test("are answered, and what they returned is read before the next answer", async () => {
    const seen: ToolResult[] = [];
    const stream = model.stream(ask, { tools, toolChoice: "required", parallelToolCalls: false, maxTokens: 60, maxRounds: 2 });
    for await (const { toolResult } of stream) if (toolResult) seen.push(toolResult);
    const result = await stream.result;
    const [{ answer, toolResults }] = result.rounds!;
    expect(toolResults).toEqual(seen);
    const { id, arguments: args } = answer.toolCalls[0];
    const { what } = find.parse(args);
    expect(toolResults).toEqual([{ id, name: "find", arguments: { what }, result: `The ${what} is in the well.` }]);
    expect(result.usage.promptTokens).toBeGreaterThan(2 * answer.usage.promptTokens);
    // The second answer reads on where the first ended.
    expect(result.usage.cachedTokens).toBeGreaterThanOrEqual(answer.usage.promptTokens);
    expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
  });

  test("run in a session, whose messages have the calls with their ids, and the results", async () => {
    await using session = model.session({ tools });
    const { rounds } = await session.send("Where is the ring?", { toolChoice: { name: "find" }, maxTokens: 60, maxRounds: 2 });
    const { toolCalls } = rounds![0].answer;
    const { result } = rounds![0].toolResults[0];
    expect(session.messages.slice(0, 3)).toEqual([
      { role: "user", content: "Where is the ring?" },
      { role: "assistant", content: "", toolCalls },
      { role: "tool", toolCallId: toolCalls[0].id, name: "find", content: result },
    ]);
    expect(session.messages).toHaveLength(4);
  });

  test("several answers at once are refused", async () => {
    await expect(model.generate(ask, { tools, n: 2 })).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/^n: /) });
  });

  test("the types of their arguments are those of the schema", () => {
    const typed = () =>
      model.generate(ask, {
        tools: {
          add: { parameters: z.object({ a: z.number(), b: z.number() }), run: ({ a, b }) => expectTypeOf(a + b).toEqualTypeOf<number>() },
          now: {
            parameters: z3.object({ zone: z3.string() }),
            run: ({ zone }, { signal }) => expectTypeOf([zone, signal.aborted] as const).toEqualTypeOf<readonly [string, boolean]>(),
          },
          say: { parameters: v.object({ text: v.string() }), run: ({ text }) => expectTypeOf(text).toEqualTypeOf<string>() },
          plain: { parameters: { type: "object" }, run: () => 1 },
        },
      });
    expectTypeOf(typed).returns.resolves.toHaveProperty("text");
    const inSession = () =>
      model.session({
        tools: { half: { parameters: z.object({ n: z.number() }), run: ({ n }) => expectTypeOf(n).toEqualTypeOf<number>() } },
      });
    expectTypeOf(inSession).returns.toHaveProperty("send");
    // @ts-expect-error: a misspelt key
    const misspelt = () => model.generate(ask, { tools: { add: { parametres: {} } } });
    // @ts-expect-error: a misspelt option
    const wrong = () => model.generate(ask, { maxTokns: 1 });
    expect([typeof misspelt, typeof wrong]).toEqual(["function", "function"]);
  });
});

describe("what a plain text or ids can't show the model is refused", () => {
  const tools = [{ name: "find" }];
  test.each([
    ["tools", { tools }],
    ["tools that must be called", { tools, toolChoice: "required" }],
    ["documents", { documents: [{ text: "The ring is in the well." }] }],
    ["knobs", { knobs: { response_format: "json_object" } }],
    ["variables", { variables: { enable_thinking: false } }],
  ] as const)("%s", async (_, options) => {
    const refused = { code: "OPTION", message: expect.stringMatching(/^\w+: expected messages, which it says something about/) };
    await expect(model.generate("Where is the ring?", options)).rejects.toMatchObject(refused);
    await expect(model.generate([1, 2, 3], options)).rejects.toMatchObject(refused);
  });

  test("but not what asks for nothing", async () => {
    const nothing = { tools: [], documents: [], knobs: {}, variables: {}, maxTokens: 1 };
    expect((await model.generate("Once", nothing)).ids).toHaveLength(1);
    expect((await model.generate("Once", { tools, toolChoice: "none", maxTokens: 1 })).ids).toHaveLength(1);
    const run = { find: { run: () => 1 } };
    expect((await model.generate("Once", { tools: run, toolChoice: "none", maxTokens: 1 })).ids).toHaveLength(1);
    expect((await model.generate([1, 2, 3], { tools: run, toolChoice: "none", maxTokens: 1 })).ids).toHaveLength(1);
  });
});

describe("an answer in JSON is parsed", () => {
  const schemas = {
    "zod 4": z.object({ name: z.string().max(8), age: z.int().min(1).max(99) }),
    "zod 3": z3.object({ name: z3.string().max(8), age: z3.number().int().min(1).max(99) }),
    valibot: v.object({ name: v.pipe(v.string(), v.maxLength(8)), age: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(99)) }),
  };

  test.each(Object.entries(schemas))("with a schema of %s, to its type", async (_, schema) => {
    const { parsed, content, parseIssues } = await model.generate(ask, { format: { type: "json", schema }, maxTokens: 100 });
    expectTypeOf(parsed).toEqualTypeOf<{ name: string; age: number } | undefined>();
    expect([parsed, parseIssues]).toEqual([JSON.parse(content), undefined]);
    expect(parsed!.age).toBeGreaterThan(0);
  });

  test("to what the schema makes of it", async () => {
    const schema = z.object({ size: z.enum(["big", "small"]) }).transform(({ size }) => size.length);
    const { parsed, content } = await model.generate(ask, { format: { type: "json", schema }, maxTokens: 100 });
    expectTypeOf(parsed).toEqualTypeOf<number | undefined>();
    expect(parsed).toBe(JSON.parse(content).size.length);
  });

  test("or not, with the reason, where the schema asks for what no grammar can", async () => {
    const schema = z.object({ size: z.enum(["big", "small"]).refine(() => false, "never right") });
    const { parsed, parseIssues, content } = await model.generate(ask, { format: { type: "json", schema }, maxTokens: 100 });
    expect([parsed, parseIssues]).toEqual([undefined, [{ message: "never right", path: ["size"] }]]);
    expect(JSON.parse(content)).toHaveProperty("size");
  });

  /** A schema by hand, of `{"a": 1}`. */
  const schemaBy = (validate: () => unknown) => ({
    "~standard": {
      version: 1 as const,
      vendor: "mine",
      validate: validate as () => { value: number },
      jsonSchema: { input: () => ({ type: "object", properties: { a: { const: 1 } }, required: ["a"] }) },
    },
  });

  test("by a schema that takes its time, which a cancel does not wait for, and others neither", async () => {
    const schema = schemaBy(async () => ({ value: model.calls().running }));
    expect((await model.generate(ask, { format: { type: "json", schema }, maxTokens: 100 })).parsed).toBe(0);
    const stop = new AbortController();
    const never = schemaBy(() => {
      setImmediate(() => stop.abort("enough"));
      return new Promise(() => undefined);
    });
    const result = await model.generate(ask, { format: { type: "json", schema: never }, maxTokens: 100, signal: stop.signal });
    expect(result).toMatchObject({ finishReason: "cancelled", cancelReason: "enough", content: '{"a": 1}' });
  });

  test("or not, with what its schema threw", async () => {
    const schema = schemaBy(() => {
      throw new Error("out of order");
    });
    const { parsed, parseIssues, content } = await model.generate(ask, { format: { type: "json", schema }, maxTokens: 100 });
    expect([parsed, parseIssues, content]).toEqual([undefined, [{ message: "out of order" }], '{"a": 1}']);
  });

  test("by a library's schema that is not strict unless that is asked for", async () => {
    const schema = z.object({ a: z.array(z.string()).meta({ uniqueItems: true }) });
    const { notEnforced } = await model.generate(ask, { format: { type: "json", schema, strict: undefined }, maxTokens: 1 });
    expect(notEnforced).toEqual(["format.schema.properties.a.uniqueItems"]);
    await expect(model.generate(ask, { format: { type: "json", schema, strict: true } })).rejects.toMatchObject({ code: "OPTION" });
  });

  test("with a JSON schema too, and not where it was cut", async () => {
    const format = { type: "json", schema: { type: "object", properties: { a: { const: 1 } }, required: ["a"] } } as const;
    expect((await model.generate(ask, { format, maxTokens: 100 })).parsed).toEqual({ a: 1 });
    expect((await model.generate(ask, { format, maxTokens: 2 })).parsed).toBeUndefined();
    expect((await model.generate(ask, { format, maxTokens: 100, stop: ":" })).parsed).toBeUndefined();
    expect((await model.generate(ask, { maxTokens: 2 })).parsed).toBeUndefined();
  });

  test("with the words that it went on from", async () => {
    const begun = [...ask, { role: "assistant", content: '{"size": "', prefix: true }] as const;
    const schema = z.object({ size: z.enum(["big", "small"]) });
    const { parsed, content } = await model.generate(begun, { format: { type: "json", schema }, maxTokens: 100 });
    expect(JSON.parse(`{"size": "${content}`)).toEqual(parsed);
    expect(["big", "small"]).toContain(parsed!.size);
  });

  test("in a session, and in each of several answers", async () => {
    const schema = schemas["zod 4"];
    await using session = model.session();
    expect((await session.send("Who?", { format: { type: "json", schema }, maxTokens: 100 })).parsed).toHaveProperty("name");
    const { choices } = await model.generate(ask, { format: { type: "json", schema }, maxTokens: 100, n: 2, temperature: 1 });
    for (const { parsed } of choices!) expect(schema.safeParse(parsed).success).toBe(true);
  });
});
