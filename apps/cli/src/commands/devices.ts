import { listDevices } from "jamba";
import type { Command } from "../command.ts";
import { UsageError } from "../errors.ts";
import { wrap } from "../layout.ts";

export const devices: Command = async ({ flags, positionals, output }) => {
  if (positionals.length > 0) throw new UsageError(`jamba devices: expected no arguments, found ${positionals.length}`);
  const all = await listDevices();
  const { backend = "auto" } = flags;
  const asked = backend === "auto" ? all : all.filter((status) => status.backend === backend);
  if (asked.length === 0) {
    throw new UsageError(`--backend: expected auto or one of ${all.map((status) => status.backend).join(", ")}, found ${backend}`);
  }
  if (output.json) {
    await output.document({ devices: asked });
    return undefined;
  }
  const { colors, width } = output;
  const indent = Math.max(...all.map((status) => status.backend.length)) + 2;
  for (const { backend, usable, reason, device } of asked) {
    const threads = device && `${device.threads} thread${device.threads === 1 ? "" : "s"}, weights ${device.weightDtypes.join(", ")}`;
    const details = device ? [device.name, threads!, ...device.features] : [reason ?? "unusable"];
    const [first, ...more] = details.flatMap((detail) => wrap(detail, width - indent));
    const name = backend.padEnd(indent);
    await output.text(`${usable ? colors.green(name) : colors.dim(name)}${first}\n`);
    for (const line of more) await output.text(`${" ".repeat(indent)}${line}\n`);
  }
  return undefined;
};
