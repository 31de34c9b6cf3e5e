// `bench gaps`: how long a server's process is held by the longest requests that each of its routes lets in.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { machineText } from "../machine.ts";
import { updateTable } from "../report.ts";
import { revision } from "../revision.ts";
import { table } from "../table.ts";
import { type Input, inputs } from "./inputs.ts";
import type { Gap } from "./server.ts";

const help = `bench gaps: the longest time that a server's event loop has no turn, by route and input, with the small model

  --only /tokenize   paths that begin so
  --results FILE
`;

/** Milliseconds. */
const target = 50;
const columns = ["route", "input", "status", "s", "longest gap, ms", "the thread's own", `<= ${target}`, "peak MB"];

export async function gaps(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { only: { type: "string", default: "/" }, results: { type: "string" }, help: { type: "boolean", short: "h", default: false } },
  });
  if (values.help) return void process.stdout.write(help);
  const rows: string[][] = [];
  for (const input of inputs.filter(({ path }) => path.startsWith(values.only))) {
    rows.push(await measure(input));
    process.stderr.write(`${rows.at(-1)!.join("  ")}\n`);
  }
  const { name, lines } = machineText();
  process.stdout.write(`${name}\n${lines.map((line) => `  ${line}\n`).join("")}\n${table([columns, ...rows])}`);
  if (!values.results) return;
  const about = [...lines, `node ${process.version}`, `ours: ${revision()}`, `command: bench ${["gaps", ...args].join(" ")}`];
  const old = existsSync(values.results) ? readFileSync(values.results, "utf8") : "# Results\n";
  const marked = [...about, `date: ${new Date().toISOString().slice(0, 10)}`].map((line) => `- ${line}`);
  writeFileSync(values.results, updateTable(old, `Gaps of a server, ${name}`, marked, [columns, ...rows]));
}

/** In a fresh process each, so that none pays for the one before. */
async function measure({ path, what, body }: Input): Promise<string[]> {
  const child = fork(fileURLToPath(new URL("./gaps-server.js", import.meta.url)), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  try {
    const { url } = (await next(child)) as { url: string };
    const ask = async (value: object) => {
      const response = await fetch(url + path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(value),
      });
      await response.arrayBuffer();
      return response.status;
    };
    await fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: "warm", max_tokens: 4 }),
    });
    const given = body();
    child.send("begin");
    await next(child);
    const start = performance.now();
    const status = await ask(given);
    const seconds = (performance.now() - start) / 1000;
    child.send("end");
    const { ms, busyMs, peakMb } = (await next(child)) as Gap;
    const shown = [ms, busyMs].map((one) => one.toFixed(0));
    return [path, what, String(status), seconds.toFixed(1), ...shown, busyMs <= target ? "yes" : "no", peakMb.toFixed(0)];
  } finally {
    child.kill();
  }
}

async function next(child: ChildProcess): Promise<unknown> {
  const [message] = await Promise.race([
    once(child, "message"),
    once(child, "exit").then(() => Promise.reject(new Error("the server ended"))),
  ]);
  return message;
}
