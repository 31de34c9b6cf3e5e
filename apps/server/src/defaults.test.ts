// What holds where a request does not say: the model's generation_config.json, else what OpenAI's own service does.

import { type JambaModel, loadModel } from "jamba";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { posted } from "../test/requests.ts";
import { type AppOptions, createApp, Service } from "./index.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());
afterEach(() => vi.restoreAllMocks());

const messages = [{ role: "user", content: "Write a story about Mia and a fox." }];
const bodies = {
  "/v1/chat/completions": { messages },
  "/v1/completions": { prompt: "Once upon a time" },
  "/v1/responses": { input: "Write a story about Mia and a fox." },
  "/v1/messages": { model: "tiny", messages },
};
const paths = Object.keys(bodies) as (keyof typeof bodies)[];

async function ask(path: keyof typeof bodies, more: object, options: AppOptions = {}) {
  const response = await createApp(new Service(model, "tiny", options)).request(path, posted({ ...bodies[path], ...more }));
  return response.json();
}

test.each(paths)("%s draws at the request's temperature, the model's, the server's, or 1", async (path) => {
  const stream = vi.spyOn(model, "stream");
  const defaults = vi.spyOn(model, "defaults", "get");
  for (const [request, checkpoint, server, expected] of [
    [undefined, undefined, undefined, 1],
    [null, undefined, undefined, 1],
    [undefined, undefined, 0.5, 0.5],
    [undefined, 0, undefined, 0], // do_sample: false
    [undefined, 0.6, 0.5, 0.6],
    [0, 0.6, 0.5, 0],
    [0.3, 0, undefined, 0.3],
  ] as const) {
    defaults.mockReturnValue(checkpoint === undefined ? {} : { temperature: checkpoint });
    await ask(path, { temperature: request, max_tokens: 1, max_output_tokens: 1 }, { temperature: server });
    expect(stream.mock.lastCall?.[1]?.temperature).toBe(expected);
  }
});

test("three answers of n: 3 differ, and the same seed gives the same three", async () => {
  for (const path of ["/v1/chat/completions", "/v1/completions"] as const) {
    const textsOf = async (more: object) =>
      (await ask(path, { n: 3, max_tokens: 16, seed: 4, ...more })).choices.map(
        (choice: { text?: string; message?: { content: string } }) => {
          return choice.text ?? choice.message?.content;
        },
      );
    const texts = await textsOf({});
    expect(new Set(texts).size).toBe(3);
    expect(await textsOf({ temperature: 1 })).toEqual(texts);
  }
});

test("stop texts and the count of tokens that the model brings along hold for requests without their own", async () => {
  vi.spyOn(model, "defaults", "get").mockReturnValue({ temperature: 0, stop: [" time"], maxTokens: 5 });
  const stream = vi.spyOn(model, "stream");
  for (const path of paths) {
    if (path === "/v1/messages") continue; // which always says how many tokens
    await ask(path, {});
    const { stop, maxTokens } = stream.mock.lastCall![1]!;
    expect([stop, maxTokens]).toEqual([undefined, 5]);
  }
  await ask("/v1/completions", { stop: "b", max_tokens: 3 });
  expect(stream.mock.lastCall?.[1]).toMatchObject({ stop: ["b"], maxTokens: 3 });
});

test("/props shows what holds", async () => {
  const app = createApp(new Service(model, "tiny"));
  expect((await (await app.request("/props")).json()).default_generation_settings.params).toEqual({ temperature: 1 });
  vi.spyOn(model, "defaults", "get").mockReturnValue({ temperature: 0.6, topK: 20 });
  expect((await (await app.request("/props")).json()).default_generation_settings.params).toEqual({ temperature: 0.6, topK: 20 });
});
