// `bench webgpu`: the adapter that Node finds. `bench webgpu-page`: the same measurements in a page, served or written to a folder.

import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { findGpu } from "@jamba/backend-webgpu";
import { count } from "../arguments.ts";
import { machineText } from "../machine.ts";
import { updateTable } from "../report.ts";
import { revision } from "../revision.ts";
import { table } from "../table.ts";
import { columns, linesOf, rowsOf } from "./figures.ts";
import type { Gpu } from "./gpu.ts";
import { measureGpu, type PartName, parts } from "./measure.ts";

const help = `bench webgpu: kernels beside the reference, then their speed beside that of copying, on the GPU that Node's package webgpu finds

  --only model       parts: ${parts.join(", ")}; all if not given
  --json FILE  --results FILE

bench webgpu-page: the same in a page, for any browser on this machine; --help tells more
`;

export async function webgpu(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", default: parts.join(",") },
      json: { type: "string" },
      results: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return void process.stdout.write(help);
  const log = (line: string) => process.stderr.write(`${line}\n`);
  const gpu = (await findGpu()) as unknown as Gpu;
  const report = await measureGpu(gpu, { agent: `Node ${process.versions.node}`, parts: partsOf(values.only), log });
  const rows = [columns, ...rowsOf(report)];
  const { name } = machineText();
  const lines = [...linesOf(report), `on: ${name}`, `ours: ${revision()}`, `command: bench ${["webgpu", ...args].join(" ")}`];
  if (values.json) writeFileSync(values.json, `${JSON.stringify(report, undefined, 1)}\n`);
  if (values.results) {
    const old = existsSync(values.results) ? readFileSync(values.results, "utf8") : "# Results\n";
    const above = [...lines, `date: ${report.date.slice(0, 10)}`].map((line) => `- ${line}`);
    writeFileSync(values.results, updateTable(old, `WebGPU, ${report.device.name}`, above, rows));
  }
  process.stdout.write(`${lines.map((line) => `  ${line}\n`).join("")}\n${table(rows)}`);
}

function partsOf(only: string): PartName[] {
  return only.split(",").map((name) => {
    const part = parts.find((one) => one === name);
    if (!part) throw new Error(`--only: expected some of ${parts.join(", ")}, found ${JSON.stringify(name)}`);
    return part;
  });
}

const pageHelp = `bench webgpu-page: a page that measures the GPU of the browser that opens it, and gives the result as a file

  --port N           where it is served (8787)
  --to DIR           writes it there instead, for any web server; WebGPU wants https or localhost
`;

const pageCode = fileURLToPath(new URL("./webgpu-page", import.meta.url));
const pageHtml = fileURLToPath(new URL("../src/webgpu/page.html", import.meta.url));

export async function webgpuPage(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { port: { type: "string", default: "8787" }, to: { type: "string" }, help: { type: "boolean", short: "h", default: false } },
  });
  if (values.help) return void process.stdout.write(pageHelp);
  if (values.to !== undefined) {
    mkdirSync(values.to, { recursive: true });
    cpSync(pageCode, values.to, { recursive: true });
    cpSync(pageHtml, join(values.to, "index.html"));
    process.stdout.write(`${join(values.to, "index.html")}\n`);
    return;
  }
  const port = count("--port", values.port);
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url!, "http://page").pathname));
    const file = path === "/" ? pageHtml : join(pageCode, path);
    // Isolated pages have finer clocks.
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    if (!existsSync(file)) return void response.writeHead(404).end();
    response.setHeader("Content-Type", extname(file) === ".js" ? "text/javascript" : "text/html");
    response.end(readFileSync(file));
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  process.stdout.write(`http://localhost:${port}/ in a browser; Ctrl+C ends it\n`);
}
