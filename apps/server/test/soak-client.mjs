// A client of the soak: asks in every way there is, leaves in the middle, sends what is refused, and says what was wrong.

import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect, isDeepStrictEqual } from "node:util";
import OpenAI from "openai";
import { casesOf, refused, streams } from "./soak-cases.mjs";

/** Answers to requests that nobody asked before, to be asked once more alone. */
const maxFresh = 300;

export class Client {
  /** One line for each thing that was not as it must be. */
  wrong = [];
  fresh = [];
  #counts = { answers: 0, refusals: 0, "left early": 0, "told to come again": 0 };
  #openai;

  constructor(url, key) {
    this.url = url;
    this.headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    this.#openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  }

  counts() {
    return Object.entries(this.#counts)
      .map(([what, count]) => `${count} ${what}`)
      .join(", ");
  }

  /** One thing, as chance has it. */
  async act(random, settled) {
    const roll = random();
    try {
      if (roll < 0.6) await this.#settled(random, settled);
      else if (roll < 0.7) await this.#fresh(random);
      else if (roll < 0.85) await this.#leave(random, settled);
      else if (roll < 0.95) await this.#refused(random);
      else await this.#raw(random);
    } catch (error) {
      this.wrong.push(`a client failed: ${inspect(error)}`);
    }
  }

  /** @returns what the answer says, without what differs from one time to another; undefined when told to come again */
  async ask(path, body, { stream = false, signal } = {}) {
    const response = await fetch(this.url + path, {
      method: "POST",
      headers: this.headers,
      body: JSON.stringify(stream ? { ...body, stream } : body),
      signal,
    });
    if (response.status === 429 || response.status === 503)
      return this.#comeAgain(await response.json(), response.headers.get("retry-after"));
    if (!response.ok) throw new Error(`${path}: expected an answer, found ${response.status} ${await response.text()}`);
    return stream ? streamed(path, events(await response.text())) : whole(path, await response.json());
  }

  compare(when, path, expected, found) {
    if (found === undefined) return;
    this.#counts.answers++;
    if (!isDeepStrictEqual(found, expected))
      this.wrong.push(`${path}, ${when}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
  }

  async #settled(random, settled) {
    const { path, body, answer } = settled[Math.floor(random() * settled.length)];
    const stream = streams(path) && random() < 0.5;
    const own = path === "/v1/chat/completions" && random() < 0.3;
    this.compare(
      `stream: ${stream}, openai: ${own}`,
      path,
      answer,
      own ? await this.#byOpenai(body, stream) : await this.ask(path, body, { stream }),
    );
  }

  async #byOpenai(body, stream) {
    try {
      const { completions } = this.#openai.chat;
      if (!stream) return whole("/v1/chat/completions", await completions.create({ model: "tiny", ...body }));
      const chunks = [];
      for await (const chunk of await completions.create({ model: "tiny", ...body, stream })) chunks.push(chunk);
      return streamed("/v1/chat/completions", chunks);
    } catch (error) {
      if (error.status !== 429 && error.status !== 503) throw error;
      return this.#comeAgain({ error: error.error }, error.headers.get("retry-after"));
    }
  }

  async #fresh(random) {
    const [[path, body]] = casesOf(random, 12).sort(() => random() - 0.5);
    const answer = await this.ask(path, body);
    if (answer === undefined) return;
    this.#counts.answers++;
    if (this.fresh.length < maxFresh) this.fresh.push({ path, body, answer });
  }

  async #comeAgain({ error }, after) {
    this.#counts["told to come again"]++;
    if (!(Number(after) > 0) || typeof error?.message !== "string")
      this.wrong.push(`429 or 503: expected when to come again, found ${after}`);
    await sleep(500); // sooner than told, so that the queue stays full
    return undefined;
  }

  async #leave(random, settled) {
    const { path, body } = settled[Math.floor(random() * settled.length)];
    const controller = new AbortController();
    const leave = setTimeout(() => controller.abort(), 300 * random());
    const length = streams(path) && { ...body, max_tokens: 200, ignore_eos: true };
    try {
      await this.ask(path, length || body, { stream: streams(path) && random() < 0.7, signal: controller.signal });
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      this.#counts["left early"]++;
    } finally {
      clearTimeout(leave);
    }
  }

  async #refused(random) {
    const [name, status, { method = "POST", path = "/v1/chat/completions", body, headers }] =
      refused[Math.floor(random() * refused.length)];
    const bytes = body === undefined || typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    const response = await fetch(this.url + path, { method, headers: { ...this.headers, ...headers }, body: bytes });
    const text = await response.text();
    // Whether there is room is asked before what is wrong.
    if (response.status === 429) return this.#comeAgain(parsed(text), response.headers.get("retry-after"));
    const message = parsed(text)?.error?.message;
    this.#counts.refusals++;
    if (response.status !== status || typeof message !== "string")
      this.wrong.push(`${name}: expected a ${status} with an error in JSON, found ${response.status} ${text.slice(0, 200)}`);
  }

  /** What no HTTP client sends: half a request, bytes, two lengths. */
  async #raw(random) {
    const { port, hostname } = new URL(this.url);
    const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: ${this.headers.authorization}\r\n`;
    const [text, status] = [
      [head.slice(0, 20 + Math.floor(60 * random()))],
      [`${head}content-type: application/json\r\ncontent-length: 500\r\n\r\n{"messages": [`],
      [""],
      ["\x16\x03\x01\x02\x00 no HTTP\r\n\r\n", 400],
      [`${head}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`, 400],
      [`${head}cookie: ${"a".repeat(20_000)}\r\n\r\n`, 431],
    ][Math.floor(6 * random())];
    const socket = connect(Number(port), hostname);
    let found = "";
    socket.on("data", (data) => (found += data));
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("error", () => undefined); // the server may close first
    socket.write(text);
    if (status === undefined) {
      await sleep(200 * random());
      socket.destroy();
      this.#counts["left early"]++;
    }
    await closed;
    if (status === undefined) return;
    this.#counts.refusals++;
    if (!found.startsWith(`HTTP/1.1 ${status}`) || !parsed(found.split("\r\n\r\n")[1])?.error?.message)
      this.wrong.push(`raw: expected a ${status} with an error in JSON, found ${found.slice(0, 200)}`);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The objects of a stream of events. */
function events(text) {
  const lines = text.split("\n").filter((line) => line.startsWith("data: ") && line !== "data: [DONE]");
  return lines.map((line) => JSON.parse(line.slice(6)));
}

/** Arguments as values: a stream has them as the model wrote them, spaces and all. Those that were cut short are compared without spaces. */
const callsOf = (calls = []) =>
  calls.map(({ function: { name, arguments: text } }) => ({ name, arguments: parsed(text) ?? text.replaceAll(/\s/g, "") }));

function whole(path, body) {
  if (path === "/v1/chat/completions")
    return body.choices.map(({ message, finish_reason, logprobs }) => ({
      text: message.content ?? "",
      calls: callsOf(message.tool_calls),
      finish_reason,
      logprobs: logprobs ?? null,
    }));
  if (path === "/v1/completions") return body.choices.map(({ text, finish_reason }) => ({ text, finish_reason }));
  if (path === "/v1/responses") return { status: body.status, output: body.output.map(({ id, call_id, ...item }) => item) };
  if (path === "/v1/embeddings") return body.data;
  return body;
}

/** The same of the pieces that a stream consists of. */
function streamed(path, chunks) {
  const failed = chunks.find(({ error }) => error);
  if (failed) throw new Error(`${path}: expected an answer, found ${JSON.stringify(failed)}`);
  if (path === "/v1/responses") return whole(path, chunks.at(-1).response);
  const isChat = path === "/v1/chat/completions";
  const choices = [];
  for (const { index, delta = {}, text = "", finish_reason, logprobs } of chunks.flatMap((chunk) => chunk.choices)) {
    choices[index] ??= isChat ? { text: "", calls: [], finish_reason: null, logprobs: null } : { text: "", finish_reason: null };
    const choice = choices[index];
    choice.text += delta.content ?? text;
    choice.finish_reason = finish_reason ?? choice.finish_reason;
    if (logprobs?.content) choice.logprobs = { ...logprobs, content: [...(choice.logprobs?.content ?? []), ...logprobs.content] };
    for (const call of delta.tool_calls ?? []) {
      choice.calls[call.index] ??= { function: { name: "", arguments: "" } };
      const { function: called } = choice.calls[call.index];
      called.name += call.function.name ?? "";
      called.arguments += call.function.arguments ?? "";
    }
  }
  for (const choice of choices) if (isChat) choice.calls = callsOf(choice.calls);
  return choices;
}
