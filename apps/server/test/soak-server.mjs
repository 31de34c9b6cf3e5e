// The server that the soak loads: the small model behind limits that a deployment would have. Tells over IPC how it fares.

import { readdirSync } from "node:fs";
import { loadModel } from "jamba";
import { serve } from "../dist/index.js";

const { apiKeys, maxBodyBytes, maxQueue, threads } = JSON.parse(process.argv[2]);

const model = await loadModel("tiny", {
  threads,
  contextLength: 2048,
  cache: { bytes: 64 * 2 ** 20 },
  limits: { sequences: 8 },
});
const failures = [];
const log = (line) => line.status === 500 && failures.push(line);
const limits = { maxBodyBytes, maxQueue, maxTokens: 256, requestTimeoutMs: 60_000 };
const server = await serve(model, "tiny", { port: 0, apiKeys, ...limits, temperature: 0, log });

function state() {
  globalThis.gc?.(); // what is left after it is held by something
  const { heapUsed, external, rss } = process.memoryUsage();
  const resources = {};
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1;
  const fds = process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
  return { stats: server.stats(), rss, heap: heapUsed + external, fds, resources, failures };
}

process.on("message", async (message) => {
  if (message === "state") return process.send(state());
  await server.close();
  await model.dispose();
  process.disconnect(); // the process ends by itself now, or something was left open
});
process.send({ url: server.url });
