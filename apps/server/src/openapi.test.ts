import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Json } from "../test/requests.ts";
import { type AppOptions, createApp, openApiDocument, Service } from "./index.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

test("the OpenAPI document lists every route with the schema of its body", async () => {
  const app = createApp(new Service(model, "tiny"));
  expect(await (await app.request("/openapi.json")).json()).toEqual(JSON.parse(JSON.stringify(openApiDocument({ model }))));
  const { paths }: Json = openApiDocument();
  const chat = paths["/v1/chat/completions"].post;
  expect(chat.requestBody.content["application/json"].schema).toMatchObject({
    required: ["messages"],
    properties: { temperature: { anyOf: [{ type: "number", minimum: 0, maximum: 2 }, { type: "null" }] } },
  });
  for (const [path, methods] of Object.entries(paths))
    for (const method of Object.keys(methods as object)) {
      const response = await app.request(path.replace("{id}", "tiny"), { method: method.toUpperCase() });
      const text = await response.text();
      expect([path, /"code":"(unknown_url|method_not_allowed)"/.test(text)]).toEqual([path, false]);
    }
});

test("what a server refuses is not in its document", () => {
  const of = (options: AppOptions): Json => openApiDocument({ options, model });
  const field = (document: Json, path: string, name: string) =>
    document.paths[path].post.requestBody.content["application/json"].schema.properties[name].anyOf[0];
  const [closed, open] = [of({}), of({ allowGrammars: true, slotsDir: "slots", slots: 2, apiKeys: ["key"] })];
  const chat = "/v1/chat/completions";
  expect([field(closed, chat, "grammar"), field(open, chat, "grammar")]).toEqual([
    { type: "string", minLength: 1, not: {} },
    { type: "string", minLength: 1 },
  ]);
  expect(field(open, chat, "id_slot")).toMatchObject({ minimum: -1, maximum: 1 });
  expect(field(closed, "/v1/embeddings", "dimensions")).toMatchObject({ const: model.config.dModel });
  expect([closed, open].map(({ paths }) => Object.hasOwn(paths, "/slots"))).toEqual([false, true]);
  expect([closed, open].map(({ security }) => security)).toEqual([[], [{ key: [] }]]);
  expect(open.paths["/health"].get.security).toEqual([]);
});
