import { type DeviceInfo, listDevices } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags } from "../flags.ts";
import { coloursFor, counted, widthOf, wrapped } from "../terminal.ts";

export const devices: Command = {
  words: "",
  summary: "what can run here, and why not more",
  flags: commonFlags,

  async run({ flags }, terminal) {
    const all = await listDevices();
    if (flags.json) {
      terminal.stdout.write(`${JSON.stringify(all)}\n`);
      return 0;
    }
    const { green, dim } = coloursFor(terminal.stdout, terminal);
    const lines = (text: string) => wrapped(text, widthOf(terminal.stdout) - indent);
    for (const { backend, usable, reason = "", device } of all) {
      const [first, ...rest] = device
        ? [...lines(named(device)), ...[...device.features, ...(device.warnings ?? [])].flatMap(lines)]
        : lines(reason);
      terminal.stdout.write(`${usable ? green("yes") : dim("no ")} ${backend.padEnd(indent - 4)}${device ? first : dim(first)}\n`);
      for (const line of rest) terminal.stdout.write(`${" ".repeat(indent)}${dim(line)}\n`);
    }
    return 0;
  },
};

/** A GPU's threads are nobody's choice. */
function named({ kind, name, threads }: DeviceInfo): string {
  return kind === "webgpu" || kind === "cuda" ? name : `${name}, ${counted(threads, "thread")}`;
}

/** Columns before what is said of a backend. */
const indent = 15;
