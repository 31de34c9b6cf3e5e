// What somebody with a key of their own may try against everybody else. None of it has an answer that matters, but none may be a 500.

import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** Milliseconds that an attack is kept up if nothing ends it. */
const patienceMs = 15_000;
const messages = [{ role: "user", content: "Hi" }];
const letters = (random, length) => Array.from({ length }, () => String.fromCharCode(97 + Math.floor(26 * random()))).join("");

/** Hard for a matcher that goes back, for one that builds states, and for one that looks behind. */
const patterns = [
  "^(a+)+$",
  "^(a|aa)*b$",
  "^(?:a?){60}a{60}$",
  "^(?=.*a{9})(?=.*b{9})(?=.*c{9}).*$",
  "^(?<!a{50})b{1,900}$",
  "^[^a]{1,2000}(x|y){1,2000}$",
];

const tool = (random, fields) => ({
  type: "function",
  function: {
    name: letters(random, 12),
    parameters: {
      type: "object",
      properties: Object.fromEntries(Array.from({ length: fields }, () => [letters(random, 8), { type: "string", maxLength: 50 }])),
    },
  },
});

const chat = (body) => ["/v1/chat/completions", { messages, max_tokens: 256, ...body }];

/** Requests that take as much as they may. */
const heavy = [
  () => chat({ n: 128, ignore_eos: true, stream: true }),
  () => ["/v1/completions", { prompt: Array(128).fill("Once upon a time"), max_tokens: 64 }],
  () => chat({ n: 8, logprobs: true, top_logprobs: 20, ignore_eos: true }),
  (random) => chat({ tools: Array.from({ length: 128 }, () => tool(random, 5)), tool_choice: "required" }),
  (random) => {
    const schema = { type: "object", properties: { a: { type: "string", pattern: patterns[Math.floor(random() * patterns.length)] } } };
    return chat({ response_format: { type: "json_schema", json_schema: { name: letters(random, 9), schema } } });
  },
  (random) => chat({ grammar: `root ::= ${"(".repeat(40)}"${letters(random, 5)}"${")*".repeat(40)}` }),
  (random) => ["/tokenize", { content: letters(random, 500_000) }],
  (random) => ["/tokenize", { content: "a".repeat(3_000_000), with_pieces: random() < 0.5 }],
  () => ["/detokenize", { tokens: Array(300_000).fill(500) }],
  () => ["/apply-template", { messages: Array.from({ length: 60_000 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: "a" })) }],
  () => chat({ messages: Array.from({ length: 30_000 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: "Hi" })) }),
  (random) => ["/v1/responses", { input: letters(random, 1_000_000), truncation: "auto" }],
  () => ["/v1/messages/count_tokens", { model: "tiny", max_tokens: 1, messages: [{ role: "user", content: "fox ".repeat(500_000) }] }],
  () => ["/v1/embeddings", { input: Array(500).fill("The fox and the hen went home.") }],
  () => ["/v1/rerank", { query: "fox", documents: Array(200).fill("The fox and the hen went home.") }],
  () => chat({ stop: Array.from({ length: 256 }, (_, i) => `${i}${"a".repeat(200)}`), ignore_eos: true }),
  () => chat({ logit_bias: Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [i, -100])) }),
  (random) => chat({ id_slot: Math.floor(4 * random()) }),
  (random) => [
    `/slots/${Math.floor(4 * random())}?action=${["save", "restore", "erase"][Math.floor(3 * random())]}`,
    { filename: letters(random, 1) },
  ],
  () => ["/slots/0?action=save", { filename: "../../etc/passwd" }],
  () => chat({ messages: [{ role: "user", content: "\u0000<|im_end|>".repeat(20_000) }] }),
];

const head = (key, length) =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${key}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;
const long = JSON.stringify({ messages, stream: true, max_tokens: 256, ignore_eos: true });

/** What is written to a socket at first, and then again and again. */
const slow = [
  () => ["", ""],
  () => ["POST /v1/chat/completions HTTP/1.1\r\n", "x-a: b\r\n"],
  (key) => [head(key, 4e6), "a"],
  // Asks for a stream, and never reads it.
  (key) => [head(key, long.length) + long, ""],
  (key) => [(head(key, long.length) + long).repeat(20), ""],
];

export class Attacker {
  counts = {};
  #url;
  #key;

  constructor(url, key) {
    this.#url = url;
    this.#key = key;
  }

  /** Each request once. */
  async actAll(random) {
    for (const request of heavy) await this.#ask(request(random), patienceMs);
  }

  async act(random) {
    if (random() < 0.3) return this.#hold(random);
    await this.#ask(heavy[Math.floor(random() * heavy.length)](random), random() < 0.5 ? 500 * random() : patienceMs);
  }

  async #ask([path, body], mostMs) {
    const controller = new AbortController();
    const leave = setTimeout(() => controller.abort(), mostMs);
    try {
      const headers = { authorization: `Bearer ${this.#key}`, "content-type": "application/json" };
      const response = await fetch(this.#url + path, { method: "POST", headers, body: JSON.stringify(body), signal: controller.signal });
      await response.arrayBuffer();
      this.#count(response.status);
    } catch {
      this.#count("left or refused");
    } finally {
      clearTimeout(leave);
    }
  }

  async #hold(random) {
    const { port, hostname } = new URL(this.#url);
    const [first, then] = slow[Math.floor(random() * slow.length)](this.#key);
    const sockets = Array.from({ length: 1 + Math.floor(15 * random()) }, () => {
      const socket = connect(Number(port), hostname);
      socket.on("error", () => undefined); // the server may close first
      socket.write(first);
      socket.pause();
      return socket;
    });
    const until = performance.now() + patienceMs * random();
    while (performance.now() < until && sockets.some((socket) => !socket.destroyed)) {
      await sleep(500);
      for (const socket of sockets) if (then !== "" && socket.writable) socket.write(then);
    }
    for (const socket of sockets) socket.destroy();
    this.#count("slow");
  }

  #count(what) {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }
}
