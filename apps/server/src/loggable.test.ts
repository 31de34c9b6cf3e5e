// Markers in every field of every request, in headers, paths and what fails inside: none is in the log.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Json, posted } from "../test/requests.ts";
import { type AppOptions, createApp, openApiDocument, Service } from "./index.ts";

const marker = "mArKeR";
let model: JambaModel;
const folder = mkdtempSync(join(tmpdir(), "jamba-log-"));
beforeAll(async () => {
  model = await loadModel("tiny", { contextLength: 2048 });
});
afterAll(async () => {
  await model.dispose();
  rmSync(folder, { recursive: true });
});

function logged(options: AppOptions = {}, served = model) {
  const lines: string[] = [];
  const log = (line: object) => lines.push(JSON.stringify(line));
  return { lines, app: createApp(new Service(served, "tiny", { maxTokens: 2, slotsDir: folder, allowGrammars: true, log, ...options })) };
}

/** A value of a schema with the marker wherever a text or a key may be; `pick` chooses among branches. */
function marked(schema: Json, pick: number): unknown {
  const branches = schema.anyOf ?? schema.oneOf;
  if (branches) return marked(branches[pick % branches.length], Math.floor(pick / branches.length));
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return pick % 7 === 6 ? marker : schema.enum[pick % schema.enum.length];
  switch (schema.type) {
    case "object": {
      const own = Object.entries(schema.properties ?? {}).map(([name, value]) => [name, marked(value as Json, pick)]);
      const more = typeof schema.additionalProperties === "object" ? marked(schema.additionalProperties, pick) : marker;
      return { ...Object.fromEntries(own), [marker]: more, [`9${marker}`]: more };
    }
    case "array":
      return [marked(schema.items ?? {}, pick), marked(schema.items ?? {}, pick + 1)];
    case "string":
      return `${marker} ${pick}`;
    case "number":
    case "integer":
      return Math.max(schema.minimum ?? 0, 0);
    case "boolean":
      return pick % 2 === 0;
    case "null":
      return null;
    default:
      return { [marker]: marker, properties: { [marker]: { type: marker } } };
  }
}

const { paths } = openApiDocument({ options: { slotsDir: folder, allowGrammars: true } }) as Json;
const requests = Object.entries(paths as Json).flatMap(([path, methods]) =>
  Object.entries(methods as Json).map(([method, operation]): [string, string, Json] => [
    method.toUpperCase(),
    path,
    (operation as Json).requestBody?.content["application/json"].schema,
  ]),
);

const simple: Readonly<Record<string, object>> = {
  messages: [{ role: "user", content: "Hi" }],
  prompt: "Hi",
  input: "Hi",
  query: "Hi",
  documents: ["Hi"],
  tokens: [1],
  content: "Hi",
  max_tokens: 1,
} as never;

describe("the log has nothing of", () => {
  test.for(requests.filter(([, , schema]) => schema))("the body of %s %s", { timeout: 120_000 }, async ([, path, schema]) => {
    const { app, lines } = logged();
    const shapes = (schema.anyOf ?? [schema]) as Json[];
    const ask = async (body: object) => {
      const response = await app.request(path.replace("{id}", "0?action=save"), posted(body));
      await response.text();
      expect(response.status).not.toBe(500);
    };
    for (const shape of shapes) {
      const base = Object.fromEntries(
        (shape.required ?? []).map((name: string) => [name, simple[name] ?? marked(shape.properties[name], 0)]),
      );
      for (let pick = 0; pick < 8; pick++) await ask(marked(shape, pick) as object);
      // One field at a time goes deeper than all at once.
      for (const [name, field] of Object.entries(shape.properties as Json))
        for (const pick of [0, 1, 2, 3, 5, 6]) await ask({ ...base, [name]: marked(field as Json, pick) });
    }
    expect(lines.length).toBeGreaterThan(8);
    expect(lines.filter((line) => line.includes(marker))).toEqual([]);
  });

  test("paths, queries and headers", async () => {
    for (const apiKeys of [[], ["key"]]) {
      const { app, lines } = logged({ apiKeys });
      const named = Object.fromEntries(
        ["authorization", "x-api-key", "user-agent", "origin", "referer", "cookie", marker].map((name) => [name, marker]),
      );
      const headers = { ...named, "content-type": `application/${marker}` };
      const given = requests.map(([method, path]) => [method, path.replace("{id}", marker)] as const);
      for (const [method, path] of [...given, ["GET", `/${marker}`], ["PUT", `/v1/${marker}`]] as const)
        for (const { origin, ...others } of [headers, { ...headers, origin: "http://localhost" }] as Json[]) {
          const init = {
            method,
            headers: { ...others, ...(path.includes(marker) ? {} : { origin }) },
            ...(method === "POST" && { body: marker }),
          };
          await (await app.request(`http://localhost${path}?${marker}=${marker}&model=${marker}&action=${marker}`, init)).text();
        }
      expect(lines.filter((line) => line.includes(marker))).toEqual([]);
    }
  });

  test("names in schemas and tools that can't be followed", async () => {
    const { app, lines } = logged();
    const schema = { type: "object", properties: { [marker]: { type: "string", format: marker, [marker]: 1 } }, [marker]: true };
    for (const strict of [true, false])
      for (const body of [
        { response_format: { type: "json_schema", json_schema: { name: marker, schema, strict } } },
        { tools: [{ type: "function", function: { name: marker, parameters: schema, strict } }, { type: marker }] },
        { logit_bias: { [`${marker}`]: 1 } },
        { logit_bias: { 999999: 1 } },
        {
          tools: [
            { type: "function", function: { name: "a", parameters: { type: "object", properties: { [`${marker}: x`]: { type: 7 } } } } },
          ],
        },
        { tool_choice: { type: "function", function: { name: marker } } },
        { messages: [{ role: "tool", content: marker, tool_call_id: marker }] },
      ])
        await (await app.request("/v1/chat/completions", posted({ messages: simple.messages, ...body }))).text();
    await (await app.request("/v1/responses", posted({ input: "Hi", include: [marker], metadata: { [marker]: marker } }))).text();
    expect(lines.length).toBeGreaterThan(10);
    expect(lines.filter((line) => line.includes(marker))).toEqual([]);
  });

  test("an error inside, but where it was thrown", async () => {
    const broken = Object.create(model, {
      tokenizer: {
        get() {
          throw new TypeError(`${marker}\n    at ${marker} (file:1:1)`);
        },
      },
    });
    const { app, lines } = logged({}, broken);
    const response = await app.request("/tokenize", posted({ content: "Hi" }));
    expect([response.status, await response.text()]).toEqual([500, expect.not.stringContaining(marker)]);
    expect(lines.filter((line) => line.includes(marker))).toEqual([]);
    expect(JSON.parse(lines[0]).error).toMatchObject({ cause: "TypeError", stack: expect.stringMatching(/^\s+at .*loggable\.test\.ts/) });
  });
});
