import { describe, expect, test, vi } from "vitest";
import * as z from "zod";
import { readTools } from "./tools.ts";

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { name: "weather", description: "Tells it.", parameters };
const definition = { type: "function", function: weather };

test.each([
  ["in OpenAI's form", [definition]],
  ["with marks beside the function", [{ ...definition, cache_control: { type: "ephemeral" } }]],
  ["bare", [weather]],
  ["as the Responses API has them", [{ type: "function", ...weather }]],
  ["by name", { weather: { description: "Tells it.", parameters } }],
  ["with a schema of a library", { weather: { description: "Tells it.", parameters: z.object({ city: z.string() }) } }],
])("tools %s are the same to the model", (_, tools) => {
  expect(readTools(tools)).toEqual({ definitions: [definition], runners: new Map() });
});

test("a tool may have no more than its name", () => {
  expect(readTools([{ name: "now" }]).definitions).toEqual([{ type: "function", function: { name: "now" } }]);
  expect(readTools({ now: {} }).definitions).toEqual([{ type: "function", function: { name: "now" } }]);
  const empty = { name: "now", parameters: { type: "object", properties: {} }, strict: true };
  expect(readTools([{ type: "function", function: empty }]).definitions[0].function).toEqual(empty);
  expect(readTools([{ name: "now", description: null, parameters: null, strict: null }]).definitions[0].function).toEqual({ name: "now" });
  expect(readTools([{ name: "now", parameters: {} }]).definitions[0].function).toEqual({ name: "now", parameters: {} });
});

describe("a tool that is wrong is refused with where and what to do", () => {
  test.each([
    ["a misspelt key", [{ name: "f", parametres: parameters }], "tools[0].parametres: expected a known option, found this one; did you mean parameters?"],
    ["in a function", [{ type: "function", function: { name: "f", desciption: "" } }], "tools[0].function.desciption: expected a known option, found this one; did you mean description?"],
    ["by name", { f: { parameter: {} } }, "tools.f.parameter: expected a known option, found this one; did you mean parameters?"],
    ["MCP's key", [{ name: "f", inputSchema: parameters }], "tools[0].inputSchema: expected the arguments' schema as `parameters`"],
    ["Anthropic's key", [{ name: "f", input_schema: parameters }], "tools[0].input_schema: expected the arguments' schema as `parameters`"],
    ["the AI SDK's execute", { f: { execute: () => 1 } }, "tools.f.execute: expected a known option"],
    ["no name", [{ description: "Tells it." }], "tools[0].name: expected a name"],
    ["an empty name", [{ name: "" }], "tools[0].name: expected a name"],
    ["a name that would break the prompt", [{ name: 'f", "x": "' }], "tools[0].name: expected a name of letters"],
    ["a name with markup", [{ name: "<tool_call>" }], "tools[0].name: expected a name of letters"],
    ["a very long name", [{ name: "f".repeat(129) }], "tools[0].name: expected a name"],
    ["a name twice", [weather, weather], 'tools[1].name: expected a name that no other tool has, found "weather"'],
    ["another name than its key", { f: { name: "g" } }, "tools.f.name: expected the name it is under, f"],
    ["a description that is no text", [{ name: "f", description: 7 }], "tools[0].description: expected a text, found 7"],
    ["parameters that are a text", [{ name: "f", parameters: "{}" }], "tools[0].parameters: expected a JSON schema of an object"],
    ["parameters that are a list", [{ name: "f", parameters: ["city"] }], "tools[0].parameters: expected a JSON schema of an object"],
    ["parameters of a text", [{ name: "f", parameters: { type: "string" } }], 'tools[0].parameters.type: expected "object"'],
    ["a schema of a list", { f: { parameters: z.array(z.string()) } }, 'tools.f.parameters.type: expected "object"'],
    ["properties without a schema around them", [{ name: "f", parameters: { city: { type: "string" } } }], "tools[0].parameters: expected { type: \"object\", properties"],
    ["properties in a list", [{ name: "f", parameters: { type: "object", properties: ["city"] } }], "tools[0].parameters.properties: expected schemas"],
    ["a schema of what JSON can't hold", { f: { parameters: z.object({ when: z.date() }) } }, "tools.f.parameters: expected a schema of what JSON can hold"],
    ["a run that is no function", { f: { run: "rm" } }, "tools.f.run: expected a function"],
    ["strict that is no boolean", [{ name: "f", strict: "yes" }], "tools[0].strict: expected true or false"],
    ["another kind of tool", [{ type: "web_search" }], 'tools[0].type: expected "function", found "web_search"'],
    ["a text", ["weather"], "tools[0]: expected { name, description, parameters }"],
    ["nothing", [null], "tools[0]: expected { name, description, parameters }, found null"],
    ["an empty function", [{ type: "function", function: null }], "tools[0].function: expected { name, description, parameters }, found null"],
    ["parameters beside the function", [{ type: "function", function: { name: "f" }, parameters }], "tools[0].parameters: expected it within tools[0].function"],
    ["run beside the function", [{ type: "function", function: { name: "f" }, run: () => 1 }], "tools[0].run: expected it within tools[0].function, found function"],
    ["strict that JSON can't hold", [{ name: "f", strict: 1n }], "tools[0].strict: expected true or false, found 1"],
    ["a map", new Map([["f", weather]]), "tools: expected an array of tools, or tools by name"],
    ["tools that are a text", "weather", "tools: expected an array of tools, or tools by name"],
  ])("%s", (_, tools, message) => {
    expect(() => readTools(tools)).toThrow(expect.objectContaining({ code: "OPTION", message: expect.stringContaining(message) }));
  });
}); // biome-ignore format: a table

describe("what runs a tool", () => {
  const context = { id: "call_1", name: "add", signal: new AbortController().signal };

  test("gets the arguments as its schema makes them, and what they are of", async () => {
    const run = vi.fn(({ a, b }: { a: number; b: number }) => a + b);
    const { runners } = readTools({ add: { parameters: z.object({ a: z.number(), b: z.number().default(2) }), run } });
    expect(await runners.get("add")!({ a: 1, c: 3 }, context)).toBe(3);
    expect(run).toHaveBeenCalledWith({ a: 1, b: 2 }, context);
  });

  test("is not called with arguments that do not fit, which it names", async () => {
    const run = vi.fn();
    const { runners } = readTools({ add: { parameters: z.object({ a: z.number().max(9), b: z.array(z.string()) }), run } });
    const message = expect.stringMatching(/^add: expected arguments that fit its parameters, found some that do not: a: .*; b.0: /);
    await expect(runners.get("add")!({ a: 10, b: [1] }, context)).rejects.toMatchObject({ code: "OPTION", message });
    expect(run).not.toHaveBeenCalled();
  });

  test("keeps its tool as this", async () => {
    class Counter {
      description = "Counts.";
      parameters = { type: "object" };
      #count = 0;
      run = () => ++this.#count;
    }
    const { runners } = readTools({ count: { ...new Counter() } });
    expect([await runners.get("count")!({}, context), await runners.get("count")!({}, context)]).toEqual([1, 2]);
  });
});
