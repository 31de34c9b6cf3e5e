// Any number as any option of a server: an error in words before it listens, or a server that answers.

import fc from "fast-check";
import { JambaError, type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { posted } from "../test/requests.ts";
import { createApp, type ServeOptions, Service, serve } from "./index.ts";
import { ranges } from "./ranges.ts";
import { routes } from "./routes.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

const odd = [0, -0, 1, -1, 0.5, 1.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
const large = [2 ** 31 - 1, 2 ** 31, 2 ** 53 - 1, 2 ** 53, 1e300, 30 * 86_400_000];
const ask = { messages: [{ role: "user", content: "Hi" }], max_tokens: 1 };

const listening = ["maxConnections", "maxConnectionsPerAddress"];
const ofModels = ["memoryBytes", "idleUnloadMs", "graceMs", "port"];

test.for([...Object.keys(ranges), ...listening].filter((name) => !ofModels.includes(name)))("%s", async (name) => {
  for (const value of [...odd, ...large]) {
    const server = await serve(model, "tiny", { port: 0, [name]: value } as ServeOptions).catch((error) => error);
    if (server instanceof Error) {
      expect([server, server.message]).toEqual([expect.any(JambaError), expect.stringMatching(new RegExp(`^${name}: expected .*, found`))]);
      continue;
    }
    const { status } = await fetch(`${server.url}/v1/chat/completions`, posted(ask));
    await server.close({ graceMs: 0 });
    expect([name, value, status]).toEqual([name, value, 200]);
  }
});

test("a grace that is no time is told, and the server still closes", async () => {
  const server = await serve(model, "tiny", { port: 0 });
  for (const graceMs of [-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])
    await expect(server.close({ graceMs })).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/^graceMs: /) });
  await server.close({ graceMs: 0 });
});

describe("numbers of requests", () => {
  const texts = ["1e999", "-1e999", "1e308", "0.5", "-1", "-0", "9007199254740993", "1e-400", "2147483648", "4294967296", "1e21"];
  const app = () => createApp(new Service(model, "tiny", { maxTokens: 2 }));
  const answering = routes.filter(({ method, request }) => method === "post" && request);
  const bodies: Readonly<Record<string, object>> = {
    "/v1/chat/completions": ask,
    "/v1/completions": { prompt: "A fox", max_tokens: 1 },
    "/v1/responses": { input: "Hi", max_output_tokens: 1 },
    "/v1/messages": { ...ask },
    "/v1/messages/count_tokens": { messages: ask.messages },
    "/v1/embeddings": { input: "A fox" },
    "/v1/rerank": { query: "fox", documents: ["a fox"] },
    "/tokenize": { content: "A fox" },
    "/detokenize": { tokens: [1] },
    "/apply-template": { messages: ask.messages },
  };
  test.for(answering.filter(({ paths }) => bodies[paths[0]]).map(({ paths, request }) => [paths[0], request] as const))(
    "%s",
    { timeout: 60_000 },
    async ([path, request]) => {
      const shapes = [request as object].flatMap((schema) => ("shape" in schema ? [schema.shape as object] : []));
      const names = shapes.flatMap((shape) => Object.keys(shape));
      const fields = names.length > 0 ? names : ["add_special", "with_pieces"];
      const property = fc.asyncProperty(fc.constantFrom(...fields), fc.constantFrom(...texts), async (name, text) => {
        const rest = JSON.stringify(Object.fromEntries(Object.entries(bodies[path]).filter(([key]) => key !== name)));
        const body = `${rest.slice(0, -1)}${rest === "{}" ? "" : ","}${JSON.stringify(name)}:${text}}`;
        const response = await app().request(path, posted(body));
        const answer = await response.text();
        expect([name, text, response.status < 500, answer]).toEqual([
          name,
          text,
          true,
          expect.not.stringMatching(response.status === 200 ? /NaN|Infinity/ : /RangeError/),
        ]);
      });
      await fc.assert(property, { numRuns: 150 });
    },
  );
});
