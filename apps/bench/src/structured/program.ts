// The program of one part: measures it and tells its figures.

import { watchOthers } from "../machine.ts";
import { firstToken } from "./first-token.ts";
import { forced } from "./forced.ts";
import { gap } from "./gap.ts";
import type { PartJob, PartName, PartReport, Told } from "./part.ts";
import { schemas } from "./schemas.ts";
import { size } from "./size.ts";

const run: Readonly<Record<PartName, (job: PartJob, told: Told) => Promise<void>>> = {
  "first-token": firstToken,
  gap,
  schemas,
  forced,
  size,
};

const send = (report: PartReport) => new Promise((sent) => process.send!(report, sent));

process.once("disconnect", () => process.exit());
process.once("message", async (job: PartJob) => {
  try {
    const others = watchOthers();
    await run[job.part](job, {
      figure: (figure) => void send({ kind: "figure", figure }),
      note: (note) => void send({ kind: "note", note }),
    });
    await send({ kind: "others", others: others() });
  } catch (error) {
    await send({ kind: "failed", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
  process.disconnect();
});
