// A soak: many clients that ask, leave, and ask for nonsense, for as long as one likes. Exit status 1 if anything was wrong.
//   node apps/server/test/soak.mjs --minutes 20 --clients 32

import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { casesOf, randomFrom } from "./soak-cases.mjs";
import { Client } from "./soak-client.mjs";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "20" },
    clients: { type: "string", default: "32" },
    seed: { type: "string", default: "1" },
  },
});
const [minutes, clients, seed] = [values.minutes, values.clients, values.seed].map(Number);
/** Fewer places than clients, so that some are told to come again. */
const limits = { apiKeys: ["soak-key", "other-key"], maxBodyBytes: 256 * 1024, maxQueue: 20, threads: 2 };
/** Memory may come to be this much more than it was after the first minutes, and the heap this many bytes. */
const [flatShare, heapBytes] = [0.05, 8e6];
const settleMinutes = 3;
/** Above node's keep-alive of 5 seconds, after which connections without requests are closed. */
const idleMs = 8000;

const child = fork(fileURLToPath(new URL("./soak-server.mjs", import.meta.url)), [JSON.stringify(limits)], { execArgv: ["--expose-gc"] });
const exited = once(child, "exit");
process.once("exit", () => child.kill());
const [{ url }] = await once(child, "message");
const stateNow = async () => {
  child.send("state");
  return (await once(child, "message"))[0];
};

const random = randomFrom(seed);
const client = new Client(url, limits.apiKeys[0]);
const settled = [];
for (const [path, body] of casesOf(random, 96)) settled.push({ path, body, answer: await client.ask(path, body) });
for (const { path, body, answer } of settled) client.compare("alone again", path, answer, await client.ask(path, body));
await sleep(idleMs);
const floor = await stateNow();

const samples = [];
const start = performance.now();
const minutesSince = () => (performance.now() - start) / 60_000;
let isOver = false;
const clientsDone = Promise.all(
  Array.from({ length: clients }, async (_, i) => {
    const own = randomFrom(1000 * seed + i);
    while (!isOver) await client.act(own, settled);
  }),
);
for (let told = 0; minutesSince() < minutes; ) {
  await sleep(Math.min(5000, (minutes - minutesSince()) * 60_000));
  const { rss, fds, heap } = await stateNow();
  samples.push({ minute: minutesSince(), rss, fds, heap });
  if (minutesSince() < told + 1 && minutesSince() < minutes) continue;
  told = Math.floor(minutesSince());
  console.log(`minute ${minutesSince().toFixed(1)}: RSS ${mb(rss)}, heap ${mb(heap)}, ${fds} files and sockets, ${client.counts()}`);
}
isOver = true;
await clientsDone;
for (const { path, body, answer } of client.fresh) client.compare("asked alone later", path, answer, await client.ask(path, body));
await sleep(idleMs);
const end = await stateNow();
const metrics = await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${limits.apiKeys[0]}` } })).text();
child.send("close");
const closed = await Promise.race([exited, sleep(20_000, undefined, { ref: false })]);

const wrong = client.wrong;
const expectThat = (isSo, what) => isSo || wrong.push(what);
const { running, waiting } = end.stats.requests;
expectThat(running === 0 && waiting === 0, `${running} run and ${waiting} wait at the end`);
for (const gauge of ["jamba_requests_processing", "jamba_requests_deferred"])
  expectThat(new RegExp(`^${gauge} 0$`, "m").test(metrics), `${gauge} is not 0 at the end`);
expectThat(end.failures.length === 0, `${end.failures.length} answers of status 500, the first: ${JSON.stringify(end.failures[0])}`);
// One connection may be that of the last request.
expectThat(end.fds <= floor.fds + 1, `${end.fds} files and sockets at the end, ${floor.fds} before`);
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
    `files and sockets ${floor.fds} and ${end.fds}`,
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
