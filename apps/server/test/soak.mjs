// A soak: many clients that ask, leave, and ask for nonsense, beside attackers with a key of their own and one client that only listens
// to its stream, for as long as one likes. Exit status 1 if anything was wrong.
//   node apps/server/test/soak.mjs --minutes 30 --clients 16 --attackers 8

import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Attacker } from "./soak-attacks.mjs";
import { casesOf, randomFrom } from "./soak-cases.mjs";
import { Client } from "./soak-client.mjs";
import { longestBeyond, startListener } from "./soak-listener.mjs";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "30" },
    clients: { type: "string", default: "16" },
    attackers: { type: "string", default: "8" },
    seed: { type: "string", default: "1" },
  },
});
const [minutes, clients, attackers, seed] = [values.minutes, values.clients, values.attackers, values.seed].map(Number);
/** Fewer places than clients, so that some are told to come again. */
const limits = { apiKeys: ["soak-key", "attacker's-key", "listener's-key"], maxQueue: 20, threads: 2, maxResponseBytes: 2 ** 19 };
/** What the listener may wait for a token beyond a step of its own, in milliseconds. */
const mostBeyondMs = 100;
/** Memory may come to be this much more than it was after the first minutes, and the heap this many bytes. */
const [flatShare, heapBytes] = [0.05, 8e6];
const settleMinutes = 3;
/** Of up to three threads. */
const filesOfThreads = 15;
/** Above node's keep-alive of 5 seconds, after which connections without requests are closed. */
const idleMs = 8000;

const child = fork(fileURLToPath(new URL("./soak-server.mjs", import.meta.url)), [JSON.stringify(limits)], { execArgv: ["--expose-gc"] });
const exited = once(child, "exit");
process.once("exit", () => child.kill());
const [{ url }] = await once(child, "message");
const stateNow = async (which = "now") => {
  child.send(which);
  return (await once(child, "message"))[0];
};

const metricsNow = async () => (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${limits.apiKeys[0]}` } })).text();

const random = randomFrom(seed);
const client = new Client(url, limits.apiKeys[0]);
const attacker = new Attacker(url, limits.apiKeys[1]);
const settled = [];
for (const [path, body] of casesOf(random, 96)) settled.push({ path, body, answer: await client.ask(path, body) });
for (const { path, body, answer } of settled) client.compare("alone again", path, answer, await client.ask(path, body));
// What is filled once stays: formats, templates, vocabularies, and responses, which are kept up to so many bytes.
await attacker.actAll(random);
const kept = async () => Number(/^jamba_responses_kept_bytes (\d+)$/m.exec(await metricsNow())[1]);
while ((await kept()) < 0.95 * limits.maxResponseBytes)
  await Promise.all(casesOf(random, 96).map(([path, body]) => path === "/v1/responses" && client.ask(path, body)));
await sleep(idleMs);
const floor = await stateNow("settled");

const samples = [];
const start = performance.now();
const minutesSince = () => (performance.now() - start) / 60_000;
let isOver = false;
const keepAt = (count, act) =>
  Array.from({ length: count }, async (_, i) => {
    const own = randomFrom(1000 * seed + i);
    while (!isOver) await act(own);
  });
const listener = startListener(url, limits.apiKeys[2]);
const steps = [];
let longestHoldMs = 0;
const clientsDone = Promise.all([...keepAt(clients, (own) => client.act(own, settled)), ...keepAt(attackers, (own) => attacker.act(own))]);
for (let told = 0; minutesSince() < minutes; ) {
  await sleep(Math.min(5000, (minutes - minutesSince()) * 60_000));
  const { rss, fds, heap, ...now } = await stateNow();
  steps.push(...now.steps);
  longestHoldMs = Math.max(longestHoldMs, now.longestHoldMs);
  samples.push({ minute: minutesSince(), rss, fds, heap });
  if (minutesSince() < told + 1 && minutesSince() < minutes) continue;
  told = Math.floor(minutesSince());
  console.log(
    `minute ${minutesSince().toFixed(1)}: RSS ${mb(rss)}, heap ${mb(heap)}, ${fds} files and sockets, ${client.counts()}; held for ${longestHoldMs.toFixed(0)} ms at most, ` +
      `listener ${longestBeyond((await listener.heard()).gaps, steps).toFixed(0)} ms`,
  );
}
isOver = true;
const heard = await listener.heard();
listener.end();
await clientsDone;
for (const { path, body, answer } of client.fresh) client.compare("asked alone later", path, answer, await client.ask(path, body));
await sleep(idleMs);
const end = await stateNow("settled");
const metrics = await metricsNow();
child.send("close");
const closed = await Promise.race([exited, sleep(20_000, undefined, { ref: false })]);

const wrong = [...client.wrong, ...heard.wrong];
const beyondMs = longestBeyond(heard.gaps, [...steps, ...end.steps]);
const expectThat = (isSo, what) => isSo || wrong.push(what);
const { running, waiting } = end.stats.requests;
expectThat(running === 0 && waiting === 0, `${running} run and ${waiting} wait at the end`);
for (const gauge of ["jamba_requests_processing", "jamba_requests_deferred"])
  expectThat(new RegExp(`^${gauge} 0$`, "m").test(metrics), `${gauge} is not 0 at the end`);
expectThat(beyondMs <= mostBeyondMs, `the listener waited ${beyondMs.toFixed(0)} ms beyond a step of its own`);
expectThat(heard.waits > 0, "the listener heard nothing");
expectThat(end.failures.length === 0, `${end.failures.length} answers of status 500, the first: ${JSON.stringify(end.failures[0])}`);
// One connection may be that of the last request; threads that formats are compiled on come with the load, and stay.
expectThat(end.fds <= floor.fds + 1 + filesOfThreads, `${end.fds} files and sockets at the end, ${floor.fds} before`);
for (const [name, count] of Object.entries(end.resources))
  expectThat(count <= (floor.resources[name] ?? 0) + 1, `${count} of ${name} at the end, ${floor.resources[name] ?? 0} before`);
expectThat(end.heap < floor.heap + heapBytes, `heap ${mb(end.heap)} at the end, ${mb(floor.heap)} before`);
expectThat(closed?.[0] === 0, `the server ended with ${closed ? (closed[1] ?? closed[0]) : "nothing for 20 seconds"} after close()`);
// The first minutes fill caches; of less than that nothing can be said.
const steady = samples.filter(({ minute }) => minute >= (minutes > 2 * settleMinutes ? settleMinutes : minutes / 2));
const slope = { rss: slopeOf(steady, "rss"), fds: slopeOf(steady, "fds"), heap: slopeOf(steady, "heap") };
const span = steady.at(-1).minute - steady[0].minute;
if (minutes > 2 * settleMinutes)
  expectThat(slope.rss * span < flatShare * steady[0].rss, `RSS grows by ${mb(slope.rss)} a minute, from ${mb(steady[0].rss)}`);

for (const line of wrong.slice(0, 20)) console.log(`wrong: ${line}`);
console.log(
  `${wrong.length === 0 ? "ok" : `${wrong.length} WRONG`}: ${minutes} minutes, ${clients} clients, ${client.counts()}; RSS ${mb(floor.rss)} before, ` +
    `${mb(steady[0].rss)} at minute ${steady[0].minute.toFixed(1)}, ${mb(end.rss)} at the end, ${mb(slope.rss)} a minute; heap ${mb(floor.heap)} and ${mb(end.heap)}; ` +
    `files and sockets ${floor.fds} and ${end.fds}; ${attackers} attackers: ${JSON.stringify(attacker.counts)}; the listener waited ${beyondMs.toFixed(0)} ms ` +
    `beyond its own step at most, of ${heard.waits} tokens; the process was held for ${longestHoldMs.toFixed(0)} ms at most`,
);
process.exit(wrong.length === 0 ? 0 : 1);

function mb(bytes) {
  return `${(bytes / 1e6).toFixed(Math.abs(bytes) < 1e7 ? 2 : 0)} MB`;
}

/** Per minute, by least squares. */
function slopeOf(points, key) {
  const mean = (of) => points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [x, y] = [mean(({ minute }) => minute), mean((point) => point[key])];
  const [over, under] = [mean((point) => (point.minute - x) * (point[key] - y)), mean(({ minute }) => (minute - x) ** 2)];
  return under > 0 ? over / under : 0;
}
