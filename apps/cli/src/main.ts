#!/usr/bin/env node
import { fstatSync } from "node:fs";
import { run } from "./program.ts";

process.exitCode = await run(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  stdinMayStayOpen: fstatSync(0).isSocket(),
  onInterrupt(listener) {
    process.on("SIGINT", listener);
    return () => process.off("SIGINT", listener);
  },
  exit: (code) => process.exit(code),
});
// A parent that never closes our stdin must not keep us alive.
process.stdin.destroy();
