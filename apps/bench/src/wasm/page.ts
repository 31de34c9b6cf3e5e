// A page that measures us, or wllama beside us; it asks its server what to do.

import { failed, run } from "./run.ts";
import type { PageJob } from "./sides.ts";
import { measureWllama } from "./wllama.ts";

const job: PageJob = await (await fetch("/job")).json();
const measured =
  job.what === "peer"
    ? measureWllama(job)
    : job.what === "start"
      ? Promise.reject(new Error("start has a page of its own"))
      : run({ ...job, ...(job.what === "model" && { model: new URL(job.model, location.origin).href }) });
const told = await measured.catch(failed);
await fetch("/told", { method: "POST", body: JSON.stringify(told) });
