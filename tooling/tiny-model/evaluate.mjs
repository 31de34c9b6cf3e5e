// Asks the small model its questions (greedy) and compares with accuracy.json. Needs a build:
//   pnpm build && node tooling/tiny-model/evaluate.mjs --dtype f32,q8,q4 --backend auto

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { loadModel } from "jamba";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const questions = read("eval/questions.jsonl")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));

/** The rules of README.md, "How to use the questions". */
function passes({ check, expected }, text) {
  const answer = text.trim();
  if (check === "contains") return expected.some((part) => answer.includes(part));
  if (check === "all") return expected.every((part) => answer.includes(part));
  if (check === "exact") return answer === expected;
  try {
    return isDeepStrictEqual(JSON.parse(answer), expected);
  } catch {
    return false;
  }
}

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

/** Points that all questions together may lose against the published accuracy; f32 has to give it in every task. */
const mayLose = { q8: 1, q4: 2 };

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
  const published = JSON.parse(read("eval/accuracy.json"));
  let fit = true;
  for (const dtype of values.dtype.split(",")) {
    const started = performance.now();
    const { answers, on } = await evaluate(dtype, values.backend);
    console.log(`${dtype} on ${on}, ${((performance.now() - started) / 1000).toFixed(0)} s`);
    for (const [task, accuracy] of Object.entries(published.accuracy)) {
      const rows = answers.filter((answer) => task === "all" || answer.task === task);
      const found = rows.filter((row) => row.passed).length / rows.length;
      const points = Math.round(1000 * (found - accuracy)) / 10 || 0; // no -0
      if (dtype === "f32") fit &&= points === 0;
      else if (task === "all" && dtype in mayLose) fit &&= -points <= mayLose[dtype];
      const change = `${points < 0 ? "" : "+"}${points.toFixed(1)} points`;
      console.log(
        `  ${task.padEnd(8)} ${String(rows.length).padStart(4)} questions  ${found.toFixed(4)}  ${change} against the published ${accuracy.toFixed(4)}`,
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
