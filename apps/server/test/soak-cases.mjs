// What the soak asks: requests whose answers are settled, and requests that must be refused. Knows no server.

const names = ["Mia", "Tom", "Lily", "Ben", "Anna", "Max", "Sara", "Leo"];
const things = ["a fox", "a red ball", "the old tree", "a small boat", "her friend", "the moon"];

/** Uniform in [0, 1), the same for the same seed: mulberry32, public domain (Tommy Ettinger). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const pick = (random, list) => list[Math.floor(random() * list.length)];
const story = (random) => `Write a story about ${pick(random, names)} and ${pick(random, things)}.`;
const chat = (random) => {
  const first = { role: "user", content: story(random) };
  if (random() < 0.5) return [first];
  const more = { role: "user", content: `And then? Tell me of ${pick(random, things)}.` };
  return [{ role: "system", content: "You tell short stories." }, first, { role: "assistant", content: "Once upon a time." }, more];
};
const mood = {
  type: "object",
  properties: { mood: { enum: ["glad", "sad"] }, size: { enum: ["small", "big"] } },
  required: ["mood", "size"],
};
const call = {
  type: "function",
  function: { name: "call_friend", parameters: { type: "object", properties: { name: { enum: names } }, required: ["name"] } },
};

/** Each draws a request whose answer depends on nothing but its body. */
const kinds = [
  (random) => ["/v1/chat/completions", { messages: chat(random), max_tokens: 8 + Math.floor(40 * random()) }],
  (random) => [
    "/v1/chat/completions",
    { messages: chat(random), max_tokens: 32, temperature: 0.9, top_p: 0.95, seed: Math.floor(1e6 * random()) },
  ],
  (random) => ["/v1/chat/completions", { messages: chat(random), max_tokens: 16, temperature: 1, seed: 7, n: 3 }],
  (random) => ["/v1/chat/completions", { messages: chat(random), max_tokens: 12, logprobs: true, top_logprobs: 3 }],
  (random) => [
    "/v1/chat/completions",
    { messages: chat(random), max_tokens: 64, response_format: { type: "json_schema", json_schema: { name: "mood", schema: mood } } },
  ],
  (random) => ["/v1/chat/completions", { messages: chat(random), max_tokens: 64, tools: [call], tool_choice: "required" }],
  (random) => ["/v1/completions", { prompt: story(random), max_tokens: 24, echo: random() < 0.3, stop: ["\n"] }],
  (random) => ["/v1/completions", { prompt: [story(random), "Once upon a time"], max_tokens: 12, temperature: 0.7, seed: 11 }],
  (random) => ["/v1/responses", { input: story(random), instructions: "Be short.", max_output_tokens: 24, temperature: 0 }],
  (random) => ["/v1/embeddings", { input: [story(random), story(random)] }],
  (random) => ["/tokenize", { content: story(random), with_pieces: random() < 0.5 }],
  (random) => ["/apply-template", { messages: chat(random) }],
];

/** One request of each kind, again and again. */
export function casesOf(random, count) {
  return Array.from({ length: count }, (_, i) => kinds[i % kinds.length](random));
}

export const streams = (path) => /completions$|responses$/.test(path);

const messages = [{ role: "user", content: "Hi" }];
const deep = `{"messages":${"[".repeat(500)}${"]".repeat(500)}}`;

/** What is wrong, the status that says so, and what differs from a good request. */
export const refused = [
  ["no JSON", 400, { body: "{" }],
  ["bytes", 400, { body: Buffer.from([0xff, 0xfe, 0, 1]) }],
  ["too deep", 400, { body: deep }],
  ["no messages", 400, { body: "{}" }],
  ["a role", 400, { body: { messages: [{ role: "wizard", content: "Hi" }] } }],
  ["a range", 400, { body: { messages, temperature: 9 } }],
  [
    "a schema",
    400,
    { body: { messages, response_format: { type: "json_schema", json_schema: { name: "a", strict: true, schema: { type: "fox" } } } } },
  ],
  ["the context", 400, { body: { messages: [{ role: "user", content: "fox ".repeat(3000) }], stream: true } }],
  ["the model", 404, { body: { model: "gpt-4", messages } }],
  ["the path", 404, { path: "/v1/nothing", body: {} }],
  ["the method", 405, { method: "DELETE", path: "/v1/models" }],
  ["the type", 415, { body: { messages }, headers: { "content-type": "text/plain" } }],
  ["no key", 401, { body: { messages }, headers: { authorization: "" } }],
  ["another key", 401, { body: { messages }, headers: { authorization: "Bearer wrong" } }],
  ["the size", 413, { body: { messages: [{ role: "user", content: "a".repeat(5_000_000) }] } }],
  ["an origin", 403, { body: { messages }, headers: { origin: "https://page.example" } }],
];
