#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { main } from "./cli.ts";
import { useProxies } from "./proxies.ts";

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));

// A reader that has seen enough (`jamba … | head`) is no error. A server goes on for those who ask it.
const isServer = process.argv[2] === "serve";
process.stdout.on("error", (error: NodeJS.ErrnoException) => isServer || process.exit(error.code === "EPIPE" ? 0 : 1));
process.stderr.on("error", () => undefined);

await useProxies(process.env);
process.exitCode = await main(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  version,
  onInterrupt(handler, { terminate = false } = {}) {
    const signals = terminate ? (["SIGINT", "SIGTERM"] as const) : (["SIGINT"] as const);
    for (const signal of signals) process.on(signal, handler);
    return () => {
      for (const signal of signals) process.off(signal, handler);
    };
  },
  exit: (code) => process.exit(code),
});
// A parent that never closes our stdin must not keep the program alive.
process.stdin.destroy();
