// The longest requests that each route lets in, by kind: bodies of four megabytes at most, with 2^15 values and 2^19 numbers (see the server's bounds.ts).

export interface Input {
  readonly path: string;
  readonly what: string;
  readonly body: () => object;
}

const bytes = 4 * 2 ** 20 - 4096;
const long = (text: string) => text.repeat(Math.floor(bytes / Buffer.byteLength(JSON.stringify(text).slice(1, -1))));
const list = <T>(length: number, make: (i: number) => T): T[] => Array.from({ length }, (_, i) => make(i));
const roles = ["user", "assistant"] as const;
const turns = (length: number, content = "some words") => list(length, (i) => ({ role: roles[i % 2], content: `${content} ${i}` }));
const tool = (i: number, properties: object = {}) => ({
  type: "function",
  function: { name: `f${i}`, description: "does it", parameters: { type: "object", properties } },
});
const nested = (levels: number): object => (levels === 0 ? {} : { properties: { a: nested(levels - 1) } });
const texts = [
  ["one piece of a letter", () => long("a")],
  ["one piece of letters that merge", () => long("ab")],
  ["spaces", () => long(" ")],
  ["line breaks", () => long("\n")],
  ["words", () => long("the quick brown fox ")],
  ["halves of characters", () => long("\ud83c")],
  ["characters beyond the vocabulary", () => long("漢字")],
  ["special tokens", () => long("<|bom|>")],
] as const;

const tokens: Input[] = [
  ...texts.map(([what, text]) => ({ path: "/tokenize", what, body: () => ({ content: text() }) })),
  { path: "/tokenize", what: "with pieces", body: () => ({ content: long("a"), with_pieces: true }) },
  { path: "/detokenize", what: "500,000 ids", body: () => ({ tokens: list(500_000, () => 9) }) },
  { path: "/detokenize", what: "ids of bytes", body: () => ({ tokens: list(500_000, (i) => 100 + (i % 128)) }) },
];

const chats: (readonly [string, () => object])[] = [
  ["6,500 messages", () => ({ messages: turns(6500) })],
  ["one message", () => ({ messages: [{ role: "user", content: long("a ") }] })],
  ["one of parts", () => ({ messages: [{ role: "user", content: list(6500, () => ({ type: "text", text: "a" })) }] })],
  [
    "128 tools",
    () => ({ messages: turns(1), tools: list(128, (i) => tool(i, Object.fromEntries(list(60, (k) => [`p${k}`, { type: "string" }])))) }),
  ],
  ["1,000 documents", () => ({ messages: turns(1), documents: list(1000, (i) => ({ title: `t${i}`, text: "words" })) })],
  ["values of 60 levels", () => ({ messages: turns(1), tools: list(100, (i) => tool(i, { a: nested(28) })) })],
];

const drawn = { max_tokens: 1, temperature: 0 };
const answers: Input[] = [
  ...chats.map(([what, body]) => ({ path: "/apply-template", what, body })),
  ...chats.map(([what, body]) => ({ path: "/v1/chat/completions", what, body: () => ({ ...body(), ...drawn }) })),
  {
    path: "/v1/chat/completions",
    what: "n × top 20 of 500 tokens",
    body: () => ({ messages: turns(1), n: 8, logprobs: true, top_logprobs: 20, max_tokens: 500, ignore_eos: true }),
  },
  {
    path: "/v1/chat/completions",
    what: "256 stop texts of 1024",
    body: () => ({ messages: turns(1), max_tokens: 50, ignore_eos: true, stop: list(256, (i) => `${i}`.padEnd(1024, "no")) }),
  },
  { path: "/v1/completions", what: "one prompt", body: () => ({ prompt: long("a"), ...drawn }) },
  { path: "/v1/completions", what: "128 prompts", body: () => ({ prompt: list(128, (i) => `${i} `.repeat(6000)), ...drawn }) },
  {
    path: "/v1/completions",
    what: "echo with top 20",
    body: () => ({ prompt: "a b ".repeat(3000), echo: true, logprobs: 20, max_tokens: 0 }),
  },
  { path: "/v1/completions", what: "500,000 ids", body: () => ({ prompt: list(500_000, () => 9), ...drawn }) },
  { path: "/v1/messages", what: "6,500 messages", body: () => ({ messages: turns(6500, "w"), ...drawn }) },
  {
    path: "/v1/messages",
    what: "blocks",
    body: () => ({ messages: [{ role: "user", content: list(6500, () => ({ type: "text", text: "a" })) }], ...drawn }),
  },
  { path: "/v1/messages/count_tokens", what: "6,500 messages", body: () => ({ messages: turns(6500, "w") }) },
  {
    path: "/v1/responses",
    what: "6,500 items",
    body: () => ({ input: list(6500, (i) => ({ role: roles[i % 2], content: "w" })), max_output_tokens: 1 }),
  },
  {
    path: "/v1/responses",
    what: "left out until it fits",
    body: () => ({ input: turns(6500, "w"), truncation: "auto", max_output_tokens: 1 }),
  },
  { path: "/v1/embeddings", what: "2048 inputs", body: () => ({ input: list(2048, (i) => `word ${i} `.repeat(100)) }) },
  { path: "/v1/embeddings", what: "one input", body: () => ({ input: long("a") }) },
  { path: "/v1/rerank", what: "1000 documents", body: () => ({ query: "fox", documents: list(1000, (i) => `word ${i} `.repeat(30)) }) },
  { path: "/v1/rerank", what: "one document", body: () => ({ query: "fox", documents: [long("a")] }) },
];

export const inputs: readonly Input[] = [...tokens, ...answers];
