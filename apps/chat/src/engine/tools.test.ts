import { type JambaModel, loadModel } from "jamba";
import { expect, test } from "vitest";
import { pageTools } from "./tools.ts";

test("the small model calls the tool that a question is for, and the page is painted as it was asked", async () => {
  const painted: string[] = [];
  const tools = pageTools((colour) => painted.push(colour));
  const model: JambaModel = await loadModel("tiny");
  const called = async (content: string) => {
    const { rounds } = await model.generate([{ role: "user", content }], { tools, temperature: 0, maxRounds: 3, maxTokens: 60 });
    return rounds!.flatMap(({ toolResults }) => toolResults.map(({ name, result }) => [name, result] as const));
  };
  for (const [question, name] of [
    ["What is 21 times 2?", "multiply"],
    ["What is 34 plus 27?", "add"],
    ["What time is it at the forest?", "get_time"],
    ["Paint the boat blue.", "paint"],
  ])
    expect((await called(question))[0][0]).toBe(name);
  expect(painted[0]).toBe("blue");
  // What it makes of numbers is its own affair: it was taught few.
  const context = { id: "1", name: "", signal: new AbortController().signal };
  expect([tools.add.run!({ a: 34, b: 27 }, context), tools.multiply.run!({ a: 21, b: 2 }, context)]).toEqual([
    '{"sum": 61}',
    '{"product": 42}',
  ]);
  expect(tools.get_time.run!({ place: "forest" }, context)).toBe(`{"time": ${new Date().getHours() % 12 || 12}}`);
  await model.dispose();
});
