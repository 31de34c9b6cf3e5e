// A client that does nothing but listen to its own stream, and notes how long it has to wait for each token. A process of its own: what
// other clients do would hold it up.

import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** Milliseconds; shorter waits are not looked at one by one. */
const worthNoting = 20;

class Listener {
  /** Waits as [begin, end] in milliseconds of the wall clock. */
  gaps = [];
  waits = 0;
  wrong = [];
  #url;
  #headers;
  #text;

  constructor(url, key) {
    this.#url = url;
    this.#headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  }

  async listen() {
    const body = { messages: [{ role: "user", content: "Tell me a long story." }], max_tokens: 200, ignore_eos: true, stream: true };
    const response = await fetch(`${this.#url}/v1/chat/completions`, {
      method: "POST",
      headers: this.#headers,
      body: JSON.stringify(body),
    });
    if (!response.ok) {
      await response.arrayBuffer();
      if (response.status !== 429) this.wrong.push(`the listener: expected a stream, found ${response.status}`);
      return sleep(200);
    }
    let [text, last, rest] = ["", undefined, ""];
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
      const now = performance.timeOrigin + performance.now();
      const events = (rest + piece).split("\n\n");
      rest = events.pop();
      for (const line of events.filter((event) => event.startsWith("data: {"))) {
        const { choices = [], error } = JSON.parse(line.slice(6));
        if (error) this.wrong.push(`the listener: expected a token, found ${JSON.stringify(error)}`);
        const said = choices[0]?.delta?.content;
        if (!said) continue;
        text += said;
        this.waits++;
        if (last !== undefined && now - last > worthNoting) this.gaps.push([last, now]);
        last = now;
      }
    }
    this.#text ??= text;
    if (text !== this.#text) this.wrong.push(`the listener: expected ${JSON.stringify(this.#text)}, found ${JSON.stringify(text)}`);
  }
}

/**
 * The longest wait beyond a step of the listener's own.
 * @param gaps waits, and @param steps of the engine, each as [begin, end] in milliseconds of the wall clock
 */
export function longestBeyond(gaps, steps) {
  let longest = 0;
  for (const [from, to] of gaps) {
    const own = Math.max(0, ...steps.filter(([begin, end]) => end > from && begin < to).map(([begin, end]) => end - begin));
    longest = Math.max(longest, to - from - own);
  }
  return longest;
}

/** @returns what gives what was heard so far, as `{ gaps, waits, wrong }`, and what ends it */
export function startListener(url, key) {
  const child = fork(new URL(import.meta.url), [url, key]);
  process.once("exit", () => child.kill());
  return {
    async heard() {
      child.send("tell");
      return (await once(child, "message"))[0];
    },
    end: () => child.kill(),
  };
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) {
  const listener = new Listener(...process.argv.slice(2));
  process.on("message", () => process.send({ gaps: listener.gaps, waits: listener.waits, wrong: listener.wrong }));
  for (;;) await listener.listen();
}
