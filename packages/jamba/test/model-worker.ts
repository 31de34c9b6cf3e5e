// The thread of lifetime.test.ts: says what it wrote, then is busy until it is ended.

import { parentPort, workerData } from "node:worker_threads";
import { loadModel } from "../src/index.ts";

const model = await loadModel("tiny", { backend: workerData.backend });
const { ids } = await model.generate("Once upon a time", { maxTokens: 8 });
parentPort!.postMessage(ids);
await model.generate(workerData.prompt, { maxTokens: 100_000, ignoreEos: true });
