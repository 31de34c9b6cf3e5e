// Clients that ask for short chats over HTTP on this machine, one after another each: answers per second, and how long they take.

import { fork } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { createAdaptorServer } from "@hono/node-server";
import { serve } from "@jamba/server";
import { chatApp } from "../http-app.ts";
import type { Load, Served } from "../http-load.ts";
import type { Stage } from "../stage.ts";
import { scenes } from "../works.ts";

const clients = scenes.http.sequences;
/** Requests of each client. */
const asked = 8;
/** Tokens of the system message, which all share, of the user's, and of the answer. */
const [system, user, said] = [24, 36, 32];

/** Both sides behind the same application; ours also behind its own server, beside the same figures of the peer. */
export async function http({ engine, writer, figure }: Stage): Promise<void> {
  // Both tokenizers make a token of each letter: words of the vocabulary begin with a space.
  const textOf = (tokens: number) => String.fromCharCode(...writer.text(tokens).map((id) => 97 + (id % 26)));
  const instructions = { role: "system", content: textOf(system) };
  const body = () => {
    const messages = [instructions, { role: "user", content: textOf(user) }];
    return JSON.stringify({ messages, max_tokens: said, temperature: 0, ignore_eos: true });
  };
  const bodies = (each: number) => Array.from({ length: clients }, () => Array.from({ length: each }, body));
  const measure = async (url: string) => {
    const load = { url: `${url}/v1/chat/completions`, usage: { prompt_tokens: 1 + system + user, completion_tokens: said } };
    await askAll({ ...load, bodies: bodies(1) }); // prepares what the others use
    return askAll({ ...load, bodies: bodies(asked) });
  };

  const server = createAdaptorServer({ fetch: chatApp(engine).fetch });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const shared = await measure(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  server.close();
  await figure("http", shared.answers / shared.seconds);
  await figure("http-tokens", (said * shared.answers) / shared.seconds);
  await figure("http-p50", shared.latencyMs.p50);
  await figure("http-p97", shared.latencyMs.p97_5);
  await figure("http-p99", shared.latencyMs.p99);

  let own = shared;
  if (engine.model) {
    const server = await serve(engine.model, "bench", { port: 0 });
    own = await measure(server.url);
    await server.close();
  }
  await figure("serve", own.answers / own.seconds);
  await figure("serve-p50", own.latencyMs.p50);
  await figure("serve-p99", own.latencyMs.p99);
}

/** @throws Error when any request failed */
async function askAll(load: Load): Promise<Served> {
  const child = fork(fileURLToPath(new URL("./http-clients.js", import.meta.url)), { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  child.send(load);
  const told: Served[] = [];
  child.on("message", (served: Served) => told.push(served));
  await once(child, "exit"); // only then is its time counted as that of a child
  const requests = load.bodies.flat().length;
  const [served] = told;
  if (!served || served.errors > 0 || served.answers !== requests)
    throw new Error(`${load.url}: expected ${requests} answers of ${load.usage.completion_tokens} tokens, found ${JSON.stringify(served)}`);
  return served;
}
