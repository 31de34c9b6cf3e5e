// What a request asks for and does not get is told in headers, or refused where it was to be strict.

import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { friendFunction, type Json, posted } from "../test/requests.ts";
import { createApp, Service } from "./index.ts";
import { headersOf } from "./notes.ts";

const lines: Json[] = [];
let model: JambaModel;
let app: ReturnType<typeof createApp>;
beforeAll(async () => {
  model = await loadModel("tiny");
  app = createApp(new Service(model, "tiny", { temperature: 0, log: (line) => lines.push(line), cors: ["https://page.example"] }));
});
afterAll(() => model.dispose());

const messages = [{ role: "user", content: "Call Omar." }];
/** Not all of it can be enforced. */
const schema = { type: "object", properties: { name: { type: "string", format: "colour" } }, required: ["name"], prohibited: ["x"] };

async function post(path: string, body: object): Promise<Response> {
  return app.request(path, posted(body));
}

const flat = { name: "call", parameters: schema };
const forms: [name: string, path: string, body: (strict: unknown) => object, schema: string][] = [
  [
    "chat: a format",
    "/v1/chat/completions",
    (strict) => ({ messages, max_tokens: 2, response_format: { type: "json_schema", json_schema: { name: "a", schema, strict } } }),
    "response_format.json_schema.schema",
  ],
  [
    "chat: a tool",
    "/v1/chat/completions",
    (strict) => ({ messages, max_tokens: 2, tools: [{ type: "web_search" }, { type: "function", function: { ...flat, strict } }] }),
    "tools[1].function.parameters",
  ],
  [
    "chat: a function of 2023",
    "/v1/chat/completions",
    (strict) => ({ messages, max_tokens: 2, functions: [{ ...flat, strict }] }),
    "functions[0].parameters",
  ],
  [
    "responses: a format",
    "/v1/responses",
    (strict) => ({ input: "Hi", max_output_tokens: 2, text: { format: { type: "json_schema", name: "a", schema, strict } } }),
    "text.format.schema",
  ],
  [
    "responses: a tool",
    "/v1/responses",
    (strict) => ({ input: "Hi", max_output_tokens: 2, tools: [{ type: "mcp" }, { type: "function", ...flat, strict }] }),
    "tools[1].parameters",
  ],
];

describe.each(forms)("%s", (_, path, body, where) => {
  test.each([undefined, null, false])(
    "with strict %s what can't be enforced is in a header and the log, streamed or not",
    async (strict) => {
      for (const stream of [false, true]) {
        const response = await post(path, { ...body(strict), stream });
        expect([response.status, response.headers.get("x-jamba-not-enforced")]).toEqual([
          200,
          `${where}.properties.name.format, ${where}.prohibited`,
        ]);
        await response.text();
        // Names of properties and unknown keywords are the client's own words.
        expect(lines.at(-1)).toMatchObject({ "x-jamba-not-enforced": `${where}.properties.name.format, ${where}.*` });
      }
    },
  );

  test("with strict true it is refused, with the place of the keyword", async () => {
    for (const stream of [false, true]) {
      const response = await post(path, { ...body(true), stream });
      const { error } = (await response.json()) as Json;
      expect([response.status, error.code, error.param]).toEqual([400, "invalid_value", `${where}.properties.name.format`]);
      expect(error.message).toMatch(/format: expected .*, found "colour"; leave it out, or set strict to false/);
    }
  });
});

test("schemas without a word for strict are read loosely, and wrong ones are refused in their own words", async () => {
  const bodies: [path: string, body: (schema: object) => object, where: string][] = [
    ["/v1/chat/completions", (schema) => ({ messages, json_schema: schema }), "json_schema"],
    ["/v1/completions", (schema) => ({ prompt: "Hi", json_schema: schema }), "json_schema"],
    ["/v1/chat/completions", (schema) => ({ messages, response_format: { type: "json_object", schema } }), "response_format.schema"],
  ];
  for (const [path, body, where] of bodies) {
    const { headers } = await post(path, { max_tokens: 2, ...body(schema) });
    expect(headers.get("x-jamba-not-enforced")).toBe(`${where}.properties.name.format, ${where}.prohibited`);
    expect(((await (await post(path, body({ type: 7 }))).json()) as Json).error.param).toBe(`${where}.type`);
    expect((await post(path, { max_tokens: 2, ...body({ type: "object" }) })).headers.has("x-jamba-not-enforced")).toBe(false);
  }
});

test("what is wrong with a tool is told by its place in the request, whatever was left out before it", async () => {
  const twice = [{ type: "mcp" }, { type: "function", ...flat, strict: false }, { type: "mcp" }, { type: "function", ...flat }];
  const array = [{ type: "mcp" }, { type: "function", name: "call", parameters: { type: "array" } }];
  const wrapped = (tools: Json[]) => tools.map(({ type, ...rest }) => (type === "mcp" ? { type } : { type, function: rest }));
  const anthropic = (tools: Json[]) =>
    tools.map(({ type, name, parameters }) => (type === "mcp" ? { type } : { name, input_schema: parameters }));
  const asked: [path: string, body: (tools: Json[]) => object, ofTool: string, schema: string][] = [
    ["/v1/chat/completions", (tools) => ({ messages, tools: wrapped(tools) }), ".function", "parameters"],
    ["/v1/responses", (tools) => ({ input: "Hi", tools }), "", "parameters"],
    ["/v1/messages", (tools) => ({ messages, max_tokens: 1, tools: anthropic(tools) }), "", "input_schema"],
  ];
  for (const [path, body, ofTool, word] of asked) {
    const told = async (tools: Json[]) => ((await (await post(path, body(tools))).json()) as Json).error.message;
    expect(await told(twice)).toMatch(`tools[3]${ofTool}.name: `);
    expect(await told(array)).toMatch(`tools[1]${ofTool}.${word}.type: `);
  }
});

test("headers hold any key, and no more than proxies take", () => {
  const notes = { notEnforced: ["a é, 100%\n\ud800 b"], leftOut: Array.from({ length: 1000 }, (_, i) => `tools[${i}] (web_search)`) };
  const [[, enforced], [, left]] = headersOf(notes);
  expect(enforced).toBe("a %C3%A9%2C 100%25%0A%EF%BF%BD b");
  expect(left).toMatch(/^tools\[0\] \(web_search\), .*, and \d+ more$/);
  expect(left.length).toBeLessThan(2100);
});

test("a page may read the headers", async () => {
  const asked = posted({ messages, max_tokens: 1 }, { origin: "https://page.example" });
  const response = await app.request("/v1/chat/completions", asked);
  for (const name of ["x-jamba-not-enforced", "x-jamba-left-out"])
    expect(response.headers.get("access-control-expose-headers")).toContain(name);
});

describe("tools of kinds that run elsewhere", () => {
  const kinds = [
    "web_search",
    "web_search_preview",
    "file_search",
    "code_interpreter",
    "computer_use_preview",
    "mcp",
    "custom",
    "image_generation",
    "local_shell",
    "apply_patch",
    "namespace",
  ];
  const others = kinds.map((type) => ({ type, name: "x", server_url: "https://a.example", container: { type: "auto" } }));
  const leftOut = kinds.map((kind, i) => `tools[${i}] (${kind})`).join(", ");

  test("are left out with a note, and the functions beside them are called", async () => {
    const response = await post("/v1/responses", { input: "Call Omar.", tools: [...others, { type: "function", ...friendFunction }] });
    expect(response.headers.get("x-jamba-left-out")).toBe(leftOut);
    expect(((await response.json()) as Json).output[0]).toMatchObject({ type: "function_call", name: "call_friend" });
    expect(lines.at(-1)).toMatchObject({ "x-jamba-left-out": kinds.map((_, i) => `tools[${i}]`).join(", ") });
    const chat = await post("/v1/chat/completions", { messages, tools: [...others, { type: "function", function: friendFunction }] });
    expect(chat.headers.get("x-jamba-left-out")).toBe(leftOut);
    expect(((await chat.json()) as Json).choices[0].finish_reason).toBe("tool_calls");
    const alone = await post("/v1/responses", { input: "Hi", tools: others, tool_choice: "auto", max_output_tokens: 2 });
    expect([alone.status, alone.headers.get("x-jamba-left-out")]).toEqual([200, leftOut]);
  });

  test("can't be forced", async () => {
    const function_ = { type: "function", ...friendFunction };
    for (const choice of [
      ...kinds.map((type) => ({ type })),
      { type: "mcp", server_label: "a" },
      { type: "custom", name: "x" },
      { type: "allowed_tools", mode: "auto", tools: [{ type: "mcp" }] },
    ]) {
      const response = await post("/v1/responses", { input: "Hi", tools: [...others, function_], tool_choice: choice });
      expect([response.status, ((await response.json()) as Json).error.param]).toEqual([400, expect.stringMatching(/^tool_choice/)]);
    }
    const chat = {
      messages,
      tools: [{ type: "function", function: friendFunction }, { type: "custom" }],
      tool_choice: { type: "custom", custom: { name: "x" } },
    };
    expect(((await (await post("/v1/chat/completions", chat)).json()) as Json).error).toMatchObject({
      param: "tool_choice.type",
      message: expect.stringContaining("no tools of other kinds"),
    });
    const none = await post("/v1/responses", { input: "Hi", tools: others, tool_choice: "required" });
    expect([none.status, ((await none.json()) as Json).error.param]).toEqual([400, "tool_choice"]);
  });

  test("and items and wishes that only they have a use for are left out too", async () => {
    const input = [
      { type: "web_search_call", id: "ws_1", status: "completed" },
      { role: "user", content: "Hi" },
      { type: "compaction", id: "c" },
    ];
    const response = await post("/v1/responses", { input, include: ["reasoning.encrypted_content"], max_output_tokens: 1 });
    expect(response.headers.get("x-jamba-left-out")).toBe(
      "include[0] (reasoning.encrypted_content), input[0] (web_search_call), input[2] (compaction)",
    );
    const image = [{ role: "user", content: [{ type: "input_image", image_url: "https://a.example/a.png" }] }];
    const { error } = (await (await post("/v1/responses", { input: image })).json()) as Json;
    expect(error).toMatchObject({ param: "input[0].content[0].type", message: expect.stringContaining("expected text") });
  });
});

test("allowed_tools: only those are called, in either API", async () => {
  const all = ["call_friend", "call_dog", "call_cat"].map((name) => ({ ...friendFunction, name }));
  for (const wanted of ["call_dog", "call_cat"]) {
    for (const mode of ["auto", "required"]) {
      const chat = {
        ...{ messages, max_tokens: 60, tools: all.map((one) => ({ type: "function", function: one })) },
        tool_choice: { type: "allowed_tools", allowed_tools: { mode, tools: [{ type: "function", function: { name: wanted } }] } },
      };
      const { message } = ((await (await post("/v1/chat/completions", chat)).json()) as Json).choices[0];
      for (const { function: called } of message.tool_calls ?? []) expect(called.name).toBe(wanted);
      const responses = {
        ...{ input: "Call Omar.", max_output_tokens: 60, tools: all.map((one) => ({ type: "function", ...one })) },
        tool_choice: {
          type: "allowed_tools",
          mode,
          tools: [
            { type: "function", name: wanted },
            { type: "mcp", server_label: "a" },
          ],
        },
      };
      const { output } = (await (await post("/v1/responses", responses)).json()) as Json;
      const calls = output.filter(({ type }: Json) => type === "function_call");
      for (const { name } of calls) expect(name).toBe(wanted);
      if (mode === "required") expect([message.tool_calls?.length, calls.length]).toEqual([1, 1]);
    }
  }
  const unknown = {
    messages,
    tools: [{ type: "function", function: all[0] }],
    tool_choice: { type: "allowed_tools", allowed_tools: { mode: "auto", tools: [{ type: "function", function: { name: "fly" } }] } },
  };
  const response = await post("/v1/chat/completions", unknown);
  expect([response.status, ((await response.json()) as Json).error]).toEqual([
    400,
    expect.objectContaining({ param: "tool_choice", message: expect.stringContaining("fly") }),
  ]);
});

describe("a field of a function that is not known", () => {
  const bodies: [path: string, where: string, body: (more: object) => object][] = [
    [
      "/v1/chat/completions",
      "tools[0].function",
      (more) => ({ messages, tools: [{ type: "function", function: { name: "call", ...more } }] }),
    ],
    ["/v1/chat/completions", "functions[0]", (more) => ({ messages, functions: [{ name: "call", ...more }] })],
    ["/v1/responses", "tools[0]", (more) => ({ input: "Call Omar.", tools: [{ type: "function", name: "call", ...more }] })],
  ];

  test.each(bodies)("%s: is refused where it means the parameters or the description, in %s", async (path, where, body) => {
    const given = { parametres: {}, paramters: {}, params: {}, arguments: {}, args: {}, inputSchema: {}, input_schema: {}, schema: {}, desciption: "", discription: "" }; // biome-ignore format: a list
    for (const [key, value] of Object.entries(given)) {
      const response = await post(path, body({ [key]: value }));
      const meant = key.startsWith("d") ? "description" : "parameters";
      const message = `${where}.${key}: expected a known field, found this one; did you mean ${meant}?`;
      expect([response.status, ((await response.json()) as Json).error.message]).toEqual([400, message]);
    }
  });

  test.each(bodies)("%s: is else left out with a note, in %s", async (path, _, body) => {
    const response = await post(path, { ...body({ defer_loading: true, title: "Call" }), max_tokens: 2 });
    expect([response.status, response.headers.get("x-jamba-left-out")]).toEqual([200, "tools[0].defer_loading, tools[0].title"]);
  });
});
