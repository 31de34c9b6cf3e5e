// truncation of /v1/responses: a conversation that is longer than the context.

import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, expect, test } from "vitest";
import { posted } from "../test/requests.ts";
import { createApp, Service } from "./index.ts";
import { responseAnswer } from "./schemas/answers.ts";

let model: JambaModel;
const logged: object[] = [];
beforeAll(async () => {
  model = await loadModel("tiny", { contextLength: 100 });
});
afterAll(() => model.dispose());

async function ask(body: object): Promise<Response> {
  const app = createApp(new Service(model, "tiny", { temperature: 0, log: (line) => logged.push(line) }));
  return app.request("/v1/responses", posted({ max_output_tokens: 8, ...body }));
}

const turn = (i: number) => [
  { role: "user", content: `Tell me of fox number ${i}.` },
  { role: "assistant", content: `Fox number ${i} is red and small.` },
];
const question = { role: "user", content: "Who is Mia?" };
const long = [...[0, 1, 2, 3, 4, 5].flatMap(turn), question];
const instructions = "Be short.";

test("auto leaves out the oldest turns, and says how many messages that were, in the answer, a header and the log", async () => {
  const response = await ask({ instructions, input: long, truncation: "auto" });
  const found = responseAnswer.parse(await response.json());
  const dropped = found.dropped_messages!;
  expect(found.truncation).toBe("auto");
  expect(dropped).toBeGreaterThan(0);
  const note = `input (the ${dropped} oldest messages)`;
  expect(response.headers.get("x-jamba-left-out")).toBe(note);
  expect(logged.at(-1)).toMatchObject({ "x-jamba-left-out": note });
  const kept = responseAnswer.parse(await (await ask({ instructions, input: long.slice(dropped) })).json());
  expect(kept.output.map((item) => "content" in item && item.content)).toEqual(
    found.output.map((item) => "content" in item && item.content),
  );
  expect(kept.usage.input_tokens).toBe(found.usage.input_tokens);
  const text = await (await ask({ instructions, input: long, truncation: "auto", stream: true })).text();
  expect(text).toContain(`"dropped_messages":${dropped}`);
});

test("what fits is left whole, and so is all without auto", async () => {
  expect(await (await ask({ input: [question], truncation: "auto" })).json()).toMatchObject({ dropped_messages: 0 });
  for (const truncation of [undefined, null, "disabled"]) {
    expect(await (await ask({ input: [question], truncation })).json()).toMatchObject({ truncation: "disabled" });
    const refused = await ask({ input: long, truncation });
    expect([refused.status, await refused.json()]).toMatchObject([400, { error: { code: "context_length_exceeded" } }]);
  }
  const wrong = await ask({ input: "Hi", truncation: "none" });
  expect([wrong.status, await wrong.json()]).toMatchObject([400, { error: { param: "truncation" } }]);
  const huge = await ask({ input: "fox ".repeat(300), truncation: "auto" });
  expect([huge.status, await huge.json()]).toMatchObject([400, { error: { code: "context_length_exceeded" } }]);
});
