// The process of one side, in any version of Node: a job as its argument, what it found as a line of its output.

import { failed, run } from "./run.ts";

const told = await run(JSON.parse(process.argv[2])).catch(failed);
process.stdout.write(`${JSON.stringify(told)}\n`);
