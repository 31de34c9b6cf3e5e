import { listDevices } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags } from "../flags.ts";
import { coloursFor } from "../terminal.ts";

export const devices: Command = {
  help: `jamba devices: every backend, fastest first, usable here or why not

  --json        the same as one document
`,
  flags: commonFlags,

  async run({ flags }, terminal) {
    const all = await listDevices();
    if (flags.json) {
      terminal.stdout.write(`${JSON.stringify(all)}\n`);
      return 0;
    }
    const { green, dim } = coloursFor(terminal.stdout, terminal);
    for (const { backend, usable, reason, device } of all) {
      const what = device ? `${device.name}, ${device.threads} thread${device.threads === 1 ? "" : "s"}` : dim(reason ?? "");
      terminal.stdout.write(`${usable ? green("yes") : dim("no ")} ${backend.padEnd(10)} ${what}\n`);
      for (const feature of device?.features ?? []) terminal.stdout.write(`               ${dim(feature)}\n`);
    }
    return 0;
  },
};
