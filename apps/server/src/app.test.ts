import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventsOf, friendFunction, type Json, posted } from "../test/requests.ts";
import { type AppOptions, createApp, Service } from "./index.ts";
import { routes } from "./routes.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

const messages = [{ role: "user", content: "Write a story about Mia and a fox." }];

function appOf(options: AppOptions = {}, name = "tiny") {
  const app = createApp(new Service(model, name, { temperature: 0, ...options }));
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) => app.request(path, posted(body, headers));
  /** Every answer is as its route says. */
  const json = async (path: string, body: unknown): Promise<Json> => {
    const response = await post(path, body);
    const found = await response.json();
    if (response.ok)
      routes.find(({ paths }) => paths[0].replace(/:id$/, path.split(/[/?]/)[2]) === path.split("?")[0])!.answer!.parse(found);
    return found;
  };
  return { app, post, json };
}

/** Without what differs from one run to the next. */
function steady(text: string): string {
  return text
    .replace(/"((?:chatcmpl-|cmpl-|call_|resp_|msg_|fc_))[0-9a-f]{32}"/g, '"$1…"')
    .replace(/"created(_at)?":\d+/g, '"created$1":0')
    .replace(/"system_fingerprint":"[^"]*"/g, '"system_fingerprint":"fp"')
    .replace(/"timings":\{[^}]*\}/g, '"timings":{}');
}

describe("chat", () => {
  test("a stream has the role first, then text, the reason of its end, usage if asked for, and [DONE]", async () => {
    const { post } = appOf();
    const body = { messages, max_tokens: 3, stream: true, stream_options: { include_usage: true } };
    const response = await post("/v1/chat/completions", body);
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const chunk = (choices: string, usage = "null") =>
      `data: {"id":"chatcmpl-…","object":"chat.completion.chunk","created":0,"model":"tiny","system_fingerprint":"fp","choices":[${choices}],"usage":${usage}`;
    const choice = (delta: string, reason = "null") => `{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${reason}}`;
    const sent = steady(await response.text()).replace(/,"timings":\{\}(,"cache_miss_reason":"[^"]*")?/, "");
    expect(sent.replace(/"cached_tokens":\d+/, '"cached_tokens":0')).toBe(
      `${[
        chunk(choice('{"role":"assistant","content":""}')),
        chunk(choice('{"content":"Once"}')),
        chunk(choice('{"content":" upon"}')),
        chunk(choice('{"content":" a"}')),
        chunk(choice("{}", '"length"')),
        chunk(
          "",
          '{"prompt_tokens":19,"completion_tokens":3,"total_tokens":22,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}',
        ),
      ].join("}\n\n")}}\n\ndata: [DONE]\n\n`,
    );
  });

  test("the text is the engine's own, streamed or not", async () => {
    const { json, post } = appOf();
    const { text } = await model.generate([{ role: "user", content: messages[0].content }], { maxTokens: 24, temperature: 0.9, seed: 5 });
    const body = { messages, max_tokens: 24, temperature: 0.9, seed: 5 };
    const whole = await json("/v1/chat/completions", body);
    expect(whole.choices[0].message).toEqual({ role: "assistant", content: text.trimStart(), refusal: null });
    const streamed = await (await post("/v1/chat/completions", { ...body, stream: true })).text();
    expect(textOf(streamed)).toBe(text.trimStart());
  });

  test("a prompt that was read before is told as cached, and why it was not", async () => {
    const { json } = appOf();
    const body = { messages: [{ role: "user", content: "Who has the red kite?" }], max_tokens: 2 };
    expect((await json("/v1/chat/completions", body)).cache_miss_reason).toMatch(/token/);
    const again = await json("/v1/chat/completions", body);
    expect(again.usage.prompt_tokens_details.cached_tokens).toBe(again.usage.prompt_tokens);
    expect(again).not.toHaveProperty("cache_miss_reason");
    expect(again.timings).toMatchObject({ prompt_n: 0, predicted_n: 2 });
  });

  test("calls of tools come as deltas: name first, then the arguments, piece by piece", async () => {
    const { json, post } = appOf();
    const tools = [{ type: "function", function: friendFunction }];
    const body = { messages: [{ role: "user", content: "Call Omar." }], tools };
    const { message, finish_reason } = (await json("/v1/chat/completions", body)).choices[0];
    expect(finish_reason).toBe("tool_calls");
    expect(message).toMatchObject({ content: null, tool_calls: [{ type: "function", function: { name: "call_friend" } }] });
    expect(JSON.parse(message.tool_calls[0].function.arguments)).toEqual({ name: "Omar" });
    const streamed = eventsOf(await (await post("/v1/chat/completions", { ...body, stream: true })).text());
    const [first, ...rest] = streamed.flatMap(({ choices }) => choices[0].delta.tool_calls ?? []);
    expect(first).toEqual({
      index: 0,
      id: expect.stringMatching(/^call_/),
      type: "function",
      function: { name: "call_friend", arguments: "" },
    });
    expect(rest.every((one) => Object.keys(one).join() === "index,function")).toBe(true);
    expect(JSON.parse(rest.map((one) => one.function.arguments).join(""))).toEqual({ name: "Omar" });
    expect(streamed.at(-1)?.choices[0].finish_reason).toBe("tool_calls");
  });

  test("tool_choice forces a call, none forbids it", async () => {
    const { json } = appOf();
    const tools = [
      {
        type: "function",
        function: { name: "add", parameters: { type: "object", properties: { a: { type: "integer" } }, required: ["a"] } },
      },
    ];
    const ask = async (tool_choice: unknown) =>
      (await json("/v1/chat/completions", { messages, tools, tool_choice, max_tokens: 60 })).choices[0];
    const forced = await ask({ type: "function", function: { name: "add" } });
    expect(forced.message.tool_calls).toHaveLength(1);
    expect(Number.isInteger(JSON.parse(forced.message.tool_calls[0].function.arguments).a)).toBe(true);
    expect((await ask("none")).message).not.toHaveProperty("tool_calls");
  });

  test("an answer keeps to a schema", async () => {
    const { json } = appOf();
    const schema = { type: "object", properties: { mood: { enum: ["glad", "sad"] } }, required: ["mood"], additionalProperties: false };
    const response_format = { type: "json_schema", json_schema: { name: "mood", schema, strict: true } };
    const { content } = (await json("/v1/chat/completions", { messages, response_format })).choices[0].message;
    expect(["glad", "sad"]).toContain(JSON.parse(content).mood);
  });

  test("logprobs are of the text's tokens, streamed or not; alternatives as many as asked for", async () => {
    const { json, post } = appOf();
    const body = { messages: [{ role: "user", content: "Hi" }], logprobs: true, top_logprobs: 2, max_tokens: 40 };
    const { message, logprobs, finish_reason } = (await json("/v1/chat/completions", body)).choices[0];
    expect(finish_reason).toBe("stop");
    expect(
      logprobs.content
        .map(({ token }: Json) => token)
        .join("")
        .trimStart(),
    ).toBe(message.content);
    for (const { token, bytes, logprob, top_logprobs } of logprobs.content) {
      expect(bytes).toEqual([...new TextEncoder().encode(token)]);
      expect(top_logprobs).toHaveLength(2);
      expect(logprob).toBe(top_logprobs[0].logprob); // greedy
    }
    const streamed = eventsOf(await (await post("/v1/chat/completions", { ...body, stream: true })).text());
    expect(streamed.flatMap(({ choices }) => choices[0].logprobs?.content ?? [])).toEqual(logprobs.content);
  });

  test("n answers differ by seed, and stream with their index", async () => {
    const { json, post } = appOf();
    const body = { messages, n: 3, temperature: 1, seed: 11, max_tokens: 12 };
    const whole = await json("/v1/chat/completions", body);
    expect(whole.usage.completion_tokens).toBe(36);
    const texts: string[] = whole.choices.map(({ message }: Json) => message.content);
    expect(new Set(texts).size).toBe(3);
    const streamed = await (await post("/v1/chat/completions", { ...body, stream: true })).text();
    expect([0, 1, 2].map((index) => textOf(streamed, index))).toEqual(texts);
  });

  test("a stop text ends the answer before it", async () => {
    const { json } = appOf();
    const { message, finish_reason } = (await json("/v1/chat/completions", { messages, stop: [" time"], max_tokens: 30 })).choices[0];
    expect([message.content, finish_reason]).toEqual(["Once upon a", "stop"]);
  });

  test("null is as good as absent, and unknown fields are ignored", async () => {
    const { json } = appOf();
    const extra = {
      temperature: null,
      tools: null,
      stop: null,
      n: null,
      seed: null,
      service_tier: "auto",
      metadata: {},
      reasoning_effort: "low",
    };
    const odd = [{ ...messages[0], name: null, tool_calls: null, refusal: null }];
    const body = await json("/v1/chat/completions", { messages: odd, max_tokens: 2, ...extra });
    expect(body.choices[0].message.content).toBe("Once upon");
  });

  test("the conversation of a client comes back with its tool calls and results", async () => {
    const { json } = appOf();
    const call = { id: "call_1", type: "function", function: { name: "find", arguments: '{"thing":"kite"}' } };
    const turns = [
      { role: "developer", content: "Be kind." },
      {
        role: "user",
        content: [
          { type: "text", text: "Where is " },
          { type: "text", text: "the kite?" },
        ],
      },
      { role: "assistant", content: [{ type: "refusal", refusal: "I can't tell." }] },
      { role: "assistant", content: null, tool_calls: [call] },
      { role: "tool", tool_call_id: "call_1", content: "in the tree" },
    ];
    const { prompt } = await json("/apply-template", { messages: turns });
    expect(prompt).toContain("<|system|> Be kind.<|eom|><|bom|><|user|> Where is the kite?<|eom|>");
    expect(prompt).toContain("I can't tell.");
    expect(prompt).toContain('{"name": "find", "arguments": {"thing": "kite"}}');
    expect((await json("/v1/chat/completions", { messages: turns, max_tokens: 3 })).usage.prompt_tokens).toBe(
      model.tokenizer.encode(prompt).length,
    );
  });
});

describe("completions", () => {
  test("prompts as texts or ids, several at once, streamed or not", async () => {
    const { json, post } = appOf();
    const texts = ["Once upon a time", "The fox"];
    const alone = await Promise.all(texts.map((text) => model.generate(text, { maxTokens: 6 })));
    const body = { prompt: texts, max_tokens: 6 };
    const whole = await json("/v1/completions", body);
    expect(whole.choices.map(({ text, index }: Json) => [index, text])).toEqual(alone.map(({ text }, index) => [index, text]));
    expect(whole.usage.completion_tokens).toBe(12);
    const ids = texts.map((text) => model.tokenizer.encode(text, { addBos: true }));
    expect((await json("/v1/completions", { prompt: ids, max_tokens: 6 })).choices.map(({ text }: Json) => text)).toEqual(
      alone.map(({ text }) => text),
    );
    const streamed = eventsOf(await (await post("/v1/completions", { ...body, stream: true })).text());
    for (const [at, { text }] of alone.entries())
      expect(
        streamed
          .flatMap(({ choices }) => choices)
          .filter(({ index }) => index === at)
          .map((one) => one.text)
          .join(""),
      ).toBe(text);
  });

  test("echo and logprobs", async () => {
    const { json } = appOf();
    expect((await json("/v1/completions", { prompt: "Once upon", max_tokens: 2, echo: true })).choices[0].text).toBe("Once upon a time");
    const { text, logprobs } = (await json("/v1/completions", { prompt: "Once upon", max_tokens: 4, logprobs: 2 })).choices[0];
    expect(logprobs.tokens.join("")).toBe(text);
    expect(logprobs.text_offset[1]).toBe(logprobs.tokens[0].length);
    expect(Object.values(logprobs.top_logprobs[0])[0]).toBe(logprobs.token_logprobs[0]);
  });
});

describe("what is around", () => {
  test("models, by name or alias", async () => {
    const { app, json } = appOf({ alias: "jamba" }, "ai21labs/tiny");
    expect((await (await app.request("/v1/models")).json()).data).toMatchObject([
      { id: "jamba", object: "model", meta: { n_vocab: 2048 } },
    ]);
    expect((await app.request("/v1/models/ai21labs/tiny")).status).toBe(200);
    expect((await (await app.request("/v1/models/other")).json()).error).toMatchObject({ code: "model_not_found", param: "model" });
    expect((await json("/v1/chat/completions", { model: "jamba", messages, max_tokens: 1 })).model).toBe("jamba");
    expect((await json("/v1/chat/completions", { model: "gpt", messages })).error.code).toBe("model_not_found");
  });

  test("what is wrong with texts to embed is told by the request's own field", async () => {
    const { json } = appOf();
    for (const input of [[2048], "x ".repeat(300_000)])
      expect((await json("/v1/embeddings", { input })).error).toMatchObject({ param: "input" });
  });

  test.each([
    [null, "prompt: Invalid input: expected string or array, received null"],
    [[], "prompt: Too small: expected array to have >=1 items"],
  ])("a prompt of %j is told in one sentence", async (prompt, message) => {
    expect((await appOf().json("/v1/completions", { prompt })).error).toMatchObject({ param: "prompt", message });
  });

  test("embeddings as numbers or in base64, the same as the model's", async () => {
    const { json } = appOf();
    const texts = ["a fox", "a kite"];
    const { data } = await model.embed(texts);
    const numbers = await json("/v1/embeddings", { input: texts });
    expect(numbers.data.flatMap(({ embedding }: Json) => embedding)).toEqual([...(data as Float32Array)]);
    for (const { embedding } of numbers.data)
      expect(embedding.reduce((sum: number, value: number) => sum + value * value, 0)).toBeCloseTo(1, 5);
    const { data: coded, usage } = await json("/v1/embeddings", { input: texts, encoding_format: "base64" });
    expect([...new Float32Array(Uint8Array.from(Buffer.from(coded[1].embedding, "base64")).buffer)]).toEqual(numbers.data[1].embedding);
    expect(usage.prompt_tokens).toBeGreaterThan(2);
    const input = texts.map((text) => model.tokenizer.encode(text));
    expect((await json("/v1/embeddings", { input })).data).toEqual(numbers.data);
  });

  test("tokens of a text and back, a part of a character as its bytes", async () => {
    const { json } = appOf();
    const { tokens } = await json("/tokenize", { content: "Hé!" });
    expect((await json("/detokenize", { tokens })).content).toBe("Hé!");
    expect((await json("/tokenize", { content: "é", with_pieces: true })).tokens.map(({ piece }: Json) => piece)).toEqual([[195], [169]]);
  });

  test("a slot keeps the conversation that named it, in a file if asked to", async () => {
    const slotsDir = mkdtempSync(join(tmpdir(), "slots-"));
    const { app, json, post } = appOf({ slotsDir, slots: 2 });
    const fresh = [{ role: "user", content: "Tell me of the slow green boat." }];
    const first = await json("/v1/chat/completions", { messages: fresh, id_slot: 1, max_tokens: 4 });
    const saved = await json("/slots/1?action=save", { filename: "boat.state" });
    expect(saved).toMatchObject({ id_slot: 1, filename: "boat.state" });
    expect(readdirSync(slotsDir)).toEqual(["boat.state"]);
    expect(await (await app.request("/slots")).json()).toMatchObject([{ n_tokens: 0 }, { n_tokens: saved.n_saved }]);
    expect(await json("/slots/1?action=erase", "")).toEqual({ id_slot: 1, n_erased: saved.n_saved });
    model.clearCache();
    expect(await json("/slots/0?action=restore", { filename: "boat.state" })).toMatchObject({ n_restored: saved.n_saved });
    const next = [...fresh, first.choices[0].message, { role: "user", content: "Go on." }];
    const again = await json("/v1/chat/completions", { messages: next, max_tokens: 1 });
    expect(again.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(again.usage.prompt_tokens / 2);
    for (const filename of ["../boat", "/etc/passwd", "a/b", "..", ".hidden", "", "a\0b"])
      expect((await post("/slots/1?action=save", { filename })).status).toBe(400);
    expect((await post("/slots/1?action=restore", { filename: "absent" })).status).toBe(404);
    expect((await post("/slots/7?action=erase", {})).status).toBe(404);
    await json("/slots/0?action=erase", "");
    rmSync(slotsDir, { recursive: true });
    expect((await (await appOf().app.request("/slots")).json()).error).toMatchObject({ code: "no_slots" });
  });

  test("metrics count tokens, cached ones apart, and answers by route and status", async () => {
    const { app, json, post } = appOf();
    await json("/v1/chat/completions", { messages, max_tokens: 5 });
    await post("/v1/chat/completions", { messages, max_tokens: -7 });
    await post("/secret-path", {});
    const text = await (await app.request("/metrics")).text();
    expect(text).toContain('jamba_http_requests_total{route="/v1/chat/completions",status="200"} 1');
    expect(text).toContain('jamba_http_requests_total{route="/v1/chat/completions",status="400"} 1');
    expect(text).toContain('jamba_http_requests_total{route="none",status="404"} 1');
    expect(text).toContain("jamba_tokens_predicted_total 5\n");
    expect(text).toContain("jamba_prefix_cache_queries_tokens_total 19\n");
    expect(text).toContain("jamba_ttft_seconds_count 1\n");
    const { steps, sequences } = model.steps();
    expect(steps).toBeGreaterThan(3);
    expect(text).toContain(`jamba_n_decode_total ${steps}\n`);
    expect(text).toContain(`jamba_n_busy_slots_per_decode ${sequences / steps}\n`);
    expect(text).not.toContain("secret");
    // The dashboard asks for nothing that is not there.
    const dashboard = readFileSync(new URL("../deploy/grafana.json", import.meta.url), "utf8");
    const asked = [...dashboard.matchAll(/\b(?:jamba|process)_\w+/g)].filter(([name]) => !text.includes(`\n${name}`));
    expect(asked).toEqual([]);
  });

  test("one log line a request, without its text", async () => {
    const lines: Json[] = [];
    const { json, post, app } = appOf({ log: (line) => lines.push(line) });
    await json("/v1/chat/completions", { messages, max_tokens: 5 });
    await (await post("/v1/chat/completions", { messages, max_tokens: 5, stream: true })).text();
    await post("/v1/chat/completions", { messages: [{ role: "user", content: 3 }] });
    await app.request("/v1/models/fox?key=Mia");
    expect(lines).toMatchObject([
      { route: "/v1/chat/completions", status: 200, promptTokens: 19, completionTokens: 5, stream: false },
      { status: 200, completionTokens: 5, stream: true },
      { status: 400, error: { param: "messages[0].content" } },
      { status: 404, route: "/v1/models/{id}", error: { code: "model_not_found" } },
    ]);
    expect(JSON.stringify(lines)).not.toMatch(/Mia|fox|Once/);
  });
});

function textOf(stream: string, index = 0): string {
  const choices = eventsOf(stream).flatMap((event) => event.choices);
  return choices
    .filter((choice) => choice.index === index)
    .map(({ delta }) => delta.content ?? "")
    .join("");
}
