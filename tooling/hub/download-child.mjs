// A process of its own that downloads, for tests that kill it: `node download-child.mjs MODULE ID OPTIONS SURROUNDINGS`, where
// MODULE is download.ts as JavaScript and the last two are JSON. Prints a line per report, and the result.

import { pathToFileURL } from "node:url";

const [path, id, options, around] = process.argv.slice(2);
const { downloadIn } = await import(pathToFileURL(path).href);
const onProgress = (report) => process.stdout.write(`${JSON.stringify(report)}\n`);
const result = await downloadIn(JSON.parse(around), id, { ...JSON.parse(options), onProgress });
process.stdout.write(`${JSON.stringify(result)}\n`);
