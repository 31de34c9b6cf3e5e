// The program of the clients: a process of its own, so that no side's thread does their work.

import { type Load, run } from "./http-load.ts";

process.once("disconnect", () => process.exit());
process.once("message", async (load: Load) => {
  process.send!(await run(load), () => process.disconnect());
});
