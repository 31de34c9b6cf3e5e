// Asks the small model its questions (greedy) and compares with accuracy.json. Needs a build:
//   pnpm build && node tooling/tiny-model/evaluate.mjs --dtype f32,q8,q4 --backend auto

import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { loadModel } from "jamba";
import { isFit, mayLose, passes, questions, scores } from "./questions.mjs";

async function ask({ part, parts, dtype, backend }) {
  const model = await loadModel("tiny", { dtype, backend, threads: 1 });
  parentPort.postMessage({ device: model.device.kind, dtypes: model.dtypes });
  for (const question of questions.filter((_, i) => i % parts === part)) {
    const { prompt, messages, maxTokens, tools, documents, knobs } = question;
    const { text } = await model.generate(prompt ?? messages, { maxTokens, temperature: 0, tools, documents, knobs });
    parentPort.postMessage({ task: question.task, passed: passes(question, text) });
  }
  await model.dispose();
}

async function evaluate(dtype, backend) {
  const parts = availableParallelism();
  const answers = [];
  let on;
  const workers = Array.from(
    { length: parts },
    (_, part) => new Worker(new URL(import.meta.url), { workerData: { part, parts, dtype, backend } }),
  );
  await Promise.all(
    workers.map(
      (worker) =>
        new Promise((resolve, reject) => {
          worker.on("error", reject).on("exit", resolve);
          worker.on("message", (message) => {
            if (message.device) on = `${message.device}, ${message.dtypes.join(" ")}`;
            else answers.push(message);
            if (process.stderr.isTTY) process.stderr.write(`\r${dtype}: ${answers.length} of ${questions.length}`);
          });
        }),
    ),
  );
  if (process.stderr.isTTY) process.stderr.write("\r");
  return { answers, on };
}

async function main() {
  const { values } = parseArgs({ options: { dtype: { type: "string", default: "f32" }, backend: { type: "string", default: "auto" } } });
  let fit = true;
  for (const dtype of values.dtype.split(",")) {
    const started = performance.now();
    const { answers, on } = await evaluate(dtype, values.backend);
    console.log(`${dtype} on ${on}, ${((performance.now() - started) / 1000).toFixed(0)} s`);
    const all = scores(answers);
    fit &&= isFit(dtype, all);
    for (const { task, count, found, accuracy, points } of all) {
      const change = `${points < 0 ? "" : "+"}${points.toFixed(1)} points`;
      console.log(
        `  ${task.padEnd(8)} ${String(count).padStart(4)} questions  ${found.toFixed(4)}  ${change} against the published ${accuracy.toFixed(4)}`,
      );
    }
  }
  const bounds = Object.entries(mayLose).map(([dtype, points]) => `${dtype} ${points}`);
  console.log(
    `${fit ? "as it should be" : "worse than it should be"}: f32 as published, at most so many points lost: ${bounds.join(", ")}`,
  );
  process.exitCode = fit ? 0 : 1;
}

await (isMainThread ? main() : ask(workerData));
