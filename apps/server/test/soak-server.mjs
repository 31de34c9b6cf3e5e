// The server that the soak loads: the small model behind limits that a deployment would have. Tells over IPC how it fares.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { openCpuBackend } from "@jamba/backend-cpu";
import { loadModel } from "jamba";
import { serve } from "../dist/index.js";

const { apiKeys, maxQueue, threads, maxResponseBytes } = JSON.parse(process.argv[2]);

/** Milliseconds; shorter steps are not noted one by one. */
const worthNoting = 5;
const folder = mkdtempSync(join(tmpdir(), "jamba-soak-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));

const backend = await openCpuBackend({ threads });
const wallNow = () => performance.timeOrigin + performance.now();
let steps = [];
const { submit } = backend;
backend.submit = (...given) => {
  const begin = wallNow();
  const step = submit.apply(backend, given);
  const note = () => void (wallNow() - begin > worthNoting && steps.push([begin, wallNow()]));
  step.done.then(note, note);
  return step;
};
const model = await loadModel("tiny", {
  backend,
  contextLength: 2048,
  cache: { bytes: 64 * 2 ** 20, dir: join(folder, "states"), dirBytes: 256 * 2 ** 20 },
  limits: { sequences: 8 },
});
const loop = monitorEventLoopDelay({ resolution: 5 });
loop.enable();
const failures = [];
const log = (line) => line.status === 500 && failures.push(line);
const limits = { maxQueue, maxTokens: 256, requestTimeoutMs: 60_000, maxResponseBytes };
const more = { slotsDir: join(folder, "slots"), allowGrammars: true, temperature: 0, log };
const server = await serve(model, "tiny", { port: 0, apiKeys, ...limits, ...more });

/** @param isSettled collects first, so that what is left is held by something; while clients wait that would hold them up */
function state(isSettled) {
  const longestHoldMs = loop.max / 1e6;
  loop.reset();
  const found = steps;
  steps = [];
  if (isSettled) globalThis.gc?.();
  const { heapUsed, external, rss } = process.memoryUsage();
  const resources = {};
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1;
  const fds = process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
  return { stats: server.stats(), rss, heap: heapUsed + external, fds, resources, failures, longestHoldMs, steps: found };
}

process.on("message", async (message) => {
  if (message !== "close") return process.send(state(message === "settled"));
  await server.close();
  await model.dispose();
  await backend.dispose();
  process.disconnect(); // the process ends by itself now, or something was left open
});
process.send({ url: server.url });
