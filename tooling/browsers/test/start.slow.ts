// How soon a cold page has the first token of the small model, from loopback, and where the time goes. Nothing is asserted of time.

import { afterAll, expect, test } from "vitest";
import { Browsers } from "./pages.ts";

const browsers = new Browsers();
afterAll(() => browsers.close());

test.for(["chromium", "firefox", "webkit"] as const)("the first token on a cold page, in %s", async (engine, { skip }) => {
  for (const query of ["", "?formats=when-used"]) {
    const rounds: [what: string, ms: number][][] = [];
    for (let round = 0; round < 5; round++) {
      const page = await browsers.page(engine, { isolated: true, name: "cold", query }, skip);
      const { marks } = await page.evaluate<{ marks: [string, number][] }>("cold");
      rounds.push(marks);
      await page.close();
    }
    const [best] = rounds.toSorted((a, b) => a.at(-1)![1] - b.at(-1)![1]);
    const median = rounds.map((marks) => marks.at(-1)![1]).sort((a, b) => a - b)[2];
    console.log(
      `${engine} ${query}: median of 5 ${median.toFixed()} ms; the best one: ${best.map(([what, ms]) => `${what} ${ms.toFixed()}`).join(", ")}`,
    );
    expect(best.at(-1)![0]).toBe("first token");
  }
});
