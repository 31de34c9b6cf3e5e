// Every route against bodies that no client would send: an answer that is none of the server's failures, in JSON, soon.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createApp, Service } from "./index.ts";
import { routes } from "./routes.ts";

const calls = Number(process.env.JAMBA_FUZZ_CALLS ?? 60);
const seed = Number(process.env.JAMBA_FUZZ_SEED ?? 8);

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny", { contextLength: 512 });
});
afterAll(() => model.dispose());

const tool = {
  type: "function",
  function: { name: "find", description: "Find", parameters: { type: "object", properties: { a: { type: "string" } } } },
};
/** A coding agent's, with fewer of its tools, which take their time to compile. */
const { tools, ...said } = JSON.parse(readFileSync(new URL("../test/coding-agent.json", import.meta.url), "utf8"));
const agent = { ...said, tools: tools.slice(-2) };
/** Bodies that are right: what is mutated is nearly so. */
const samples: Readonly<Record<string, object>> = {
  "/v1/chat/completions": {
    messages: [
      { role: "system", content: "Be kind." },
      { role: "user", content: [{ type: "text", text: "Hi" }] },
      { role: "assistant", content: null, tool_calls: [{ id: "a", type: "function", function: { name: "find", arguments: "{}" } }] },
      { role: "tool", tool_call_id: "a", content: "x" },
    ],
    ...{ model: "tiny", stream: true, stream_options: { include_usage: true }, max_tokens: 3, max_completion_tokens: 3, n: 2 },
    ...{ temperature: 1, top_p: 0.9, top_k: 5, min_p: 0.1, typical_p: 0.9, seed: 3, stop: ["a", "b"], logit_bias: { 5: 1 } },
    ...{ frequency_penalty: 1, presence_penalty: 1, repeat_penalty: 1.1, dry_multiplier: 1, dry_base: 1.5, xtc_probability: 0.5 },
    ...{ dry_allowed_length: 2, dry_penalty_last_n: -1, dry_sequence_breakers: ["."], xtc_threshold: 0.1, ignore_eos: true, id_slot: 0 },
    ...{
      logprobs: true,
      top_logprobs: 2,
      tools: [tool, { type: "custom" }],
      tool_choice: "auto",
      parallel_tool_calls: false,
      timings_per_token: true,
    },
    ...{
      response_format: { type: "json_schema", json_schema: { name: "a", schema: { type: "object" } } },
      documents: [{ text: "a", title: "b" }],
    },
    ...{ knobs: { citation_mode: "fast" }, json_schema: { type: "object" }, continue_final_message: false, add_generation_prompt: true },
  },
  "/v1/completions": {
    prompt: ["Once", "The"],
    max_tokens: 3,
    stream: true,
    n: 2,
    logprobs: 1,
    echo: true,
    best_of: 2,
    stop: "a",
    seed: -1,
  },
  "/v1/responses": {
    input: [
      { role: "user", content: [{ type: "input_text", text: "Hi" }] },
      { type: "function_call", call_id: "a", name: "find", arguments: "{}" },
      { type: "function_call_output", call_id: "a", output: [{ type: "input_text", text: "x" }] },
      { type: "reasoning", summary: [{ type: "summary_text", text: "x" }] },
      { role: "assistant", content: [{ type: "refusal", refusal: "No." }] },
      { type: "web_search_call", id: "ws_1" },
    ],
    ...{
      instructions: "Be kind.",
      stream: true,
      max_output_tokens: 3,
      temperature: 1,
      top_p: 0.9,
      text: { format: { type: "json_object" } },
    },
    ...{
      tools: [{ type: "function", ...tool.function, strict: false }, { type: "web_search" }],
      include: ["reasoning.encrypted_content"],
      stop: ["a", ""],
      tool_choice: { type: "function", name: "find" },
      metadata: { a: "b" },
      store: false,
    },
  },
  "/v1/messages": {
    ...agent,
    max_tokens: 3,
    stop_sequences: ["a"],
    top_k: 5,
    tool_choice: { type: "auto", disable_parallel_tool_use: true },
  },
  "/v1/messages/count_tokens": agent,
  "/v1/embeddings": { input: ["a", "b"], encoding_format: "base64", dimensions: 192 },
  "/v1/rerank": { query: "Who?", documents: ["a", { text: "b" }], top_n: 1, return_documents: true },
  "/tokenize": { content: "Hi", add_special: true, with_pieces: true },
  "/detokenize": { tokens: [1, 2, 300] },
  "/apply-template": {
    messages: [
      { role: "user", content: "Hi" },
      { role: "assistant", content: "So", prefix: true },
    ],
    continue_final_message: true,
    tools: [tool],
    documents: [{ text: "a" }],
    knobs: {},
  },
  "/slots/:id": { filename: "a" },
};

const odd = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    -1,
    0,
    1,
    2,
    1e308,
    -1e308,
    2 ** 53,
    0.5,
    "",
    "\u0000",
    "\ud800",
    "<|eom|>",
    "<tool_calls>[",
    [],
    {},
    [[]],
  ),
  fc.constantFrom<unknown>("__proto__", "constructor", { __proto__: null }, "auto", "required", "a".repeat(5000), Array(500).fill(1)),
  fc.jsonValue({ maxDepth: 3 }),
);

/** A value with one place in it replaced, dropped or doubled. */
function mutated(value: unknown, pick: (below: number) => number, replacement: unknown): unknown {
  if (typeof value !== "object" || value === null || pick(4) === 0) return replacement;
  const keys = Object.keys(value);
  if (keys.length === 0) return replacement;
  const key = keys[pick(keys.length)];
  const inner = (value as Record<string, unknown>)[key];
  const what = pick(8);
  if (Array.isArray(value)) {
    const at = Number(key);
    if (what === 0) return value.filter((_, i) => i !== at);
    if (what === 1) return [...value, ...value];
    return value.map((one, i) => (i === at ? mutated(one, pick, replacement) : one));
  }
  const { [key]: _, ...rest } = value as Record<string, unknown>;
  if (what === 0) return rest;
  if (what === 1) return { ...rest, [`${key}x`]: inner };
  return { ...rest, [key]: mutated(inner, pick, replacement) };
}

const body = (sample: object) =>
  fc
    .tuple(
      fc.infiniteStream(fc.nat()),
      fc.integer({ min: 1, max: 3 }),
      odd,
      fc.option(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { freq: 4 }),
    )
    .map(([numbers, times, replacement, broken]) => {
      const pick = (below: number) => numbers.next().value % below;
      let value: unknown = sample;
      for (let i = 0; i < times; i++) value = mutated(value, pick, replacement);
      const bytes = Buffer.from(JSON.stringify(value) ?? "");
      // Some are no JSON either.
      if (broken && bytes.length > 0) bytes[broken[0] % bytes.length] = broken[1];
      return bytes;
    });

test.for(routes.filter(({ request }) => request).map(({ paths }) => paths[0]))("%s never fails, whatever comes", async (path) => {
  const app = createApp(new Service(model, "tiny", { maxTokens: 3, slotsDir: undefined, maxQueue: 1000 }));
  const url = path.replace(":id", "0");
  expect(samples).toHaveProperty([path]);
  const property = fc.asyncProperty(
    body(samples[path]),
    fc.constantFrom("", "?action=save", "?action=%00", "?action=erase"),
    async (bytes, query) => {
      const response = await app.request(url + query, { method: "POST", headers: { "content-type": "application/json" }, body: bytes });
      const text = await response.text();
      expect([response.status < 500, text.slice(0, 500)]).toEqual([true, expect.anything()]);
      if (response.status >= 400) expect(JSON.parse(text).error).toMatchObject({ message: expect.any(String), type: expect.any(String) });
      expect(text).not.toContain('"code":"internal_error"');
    },
  );
  await fc.assert(property, { numRuns: calls, seed });
  expect(model.calls()).toEqual({ running: 0, waiting: 0 });
});

test("any path and method is told in JSON that it is unknown", async () => {
  const app = createApp(new Service(model, "tiny"));
  const part = fc.oneof(fc.constantFrom("v1", "models", "slots", "..", "%2e%2e", "%00", "%", "//", "chat", "health"), fc.webSegment());
  const property = fc.asyncProperty(
    fc.array(part, { maxLength: 4 }),
    fc.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"),
    async (parts, method) => {
      const response = await app.request(`http://localhost/${parts.join("/")}`, { method });
      expect(response.status).not.toBe(500);
      if (response.status >= 400 && method !== "HEAD") expect(await response.json()).toHaveProperty("error.message");
    },
  );
  await fc.assert(property, { numRuns: calls * 3, seed });
});
