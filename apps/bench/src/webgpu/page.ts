// The page for people with GPUs: measures, shows, and gives the result as a file to send.

import { table } from "../table.ts";
import { columns, linesOf, type Report, rowsOf } from "./figures.ts";
import type { Gpu } from "./gpu.ts";
import { measureGpu, type PartName, parts } from "./measure.ts";

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const said = find<HTMLParagraphElement>("said");
const button = find<HTMLButtonElement>("measure");

function show(report: Report): void {
  find("lines").textContent = linesOf(report).join("\n");
  const rows = [columns, ...rowsOf(report)].map((fields, i) => {
    const row = document.createElement("tr");
    for (const field of fields) row.append(Object.assign(document.createElement(i === 0 ? "th" : "td"), { textContent: field }));
    return row;
  });
  find("figures").replaceChildren(...rows);
  const href = URL.createObjectURL(new Blob([`${JSON.stringify(report, undefined, 1)}\n`], { type: "application/json" }));
  const save = find<HTMLButtonElement>("file");
  save.onclick = () =>
    Object.assign(document.createElement("a"), { href, download: `jamba-webgpu-${report.date.slice(0, 10)}.json` }).click();
  save.hidden = false;
}

async function measure(wanted: readonly PartName[]): Promise<Report> {
  const { gpu } = navigator as { gpu?: Gpu };
  if (!gpu) throw new Error("This browser has no WebGPU here: it needs a recent one, and a page from https or from localhost.");
  let done = 0;
  const log = (line: string) => {
    said.textContent = `${++done}. ${line} …`;
  };
  return measureGpu(gpu, { agent: navigator.userAgent, parts: wanted, log });
}

/** For the button, and for whoever drives the page. */
async function run(wanted: readonly PartName[] = parts): Promise<Report> {
  button.disabled = true;
  const started = performance.now();
  try {
    const report = await measure(wanted);
    show(report);
    said.textContent = `Done in ${((performance.now() - started) / 1000).toFixed()} s.`;
    return report;
  } catch (error) {
    said.textContent = String((error as Error).message ?? error);
    throw error;
  } finally {
    button.disabled = false;
  }
}

button.onclick = () => void run().catch(() => undefined); // it is said
Object.assign(globalThis, { run, tableOf: (report: Report) => table([columns, ...rowsOf(report)]) });
