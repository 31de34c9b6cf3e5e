// Asks the small model its questions (greedy) and compares with accuracy.json. Needs a build: pnpm build && node tooling/tiny-model/evaluate.mjs

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { isDeepStrictEqual } from "node:util";
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

async function ask({ part, parts }) {
  const model = await loadModel("tiny");
  for (const question of questions.filter((_, i) => i % parts === part)) {
    const { prompt, messages, maxTokens, tools, documents, knobs } = question;
    const { text } = await model.generate(prompt ?? messages, { maxTokens, temperature: 0, tools, documents, knobs });
    parentPort.postMessage({ task: question.task, passed: passes(question, text) });
  }
  await model.dispose();
}

async function main() {
  const published = JSON.parse(read("eval/accuracy.json"));
  const parts = availableParallelism();
  const results = [];
  const started = performance.now();
  const workers = Array.from({ length: parts }, (_, part) => new Worker(new URL(import.meta.url), { workerData: { part, parts } }));
  await Promise.all(
    workers.map(
      (worker) =>
        new Promise((resolve, reject) => {
          worker.on("error", reject).on("exit", resolve);
          worker.on("message", (result) => {
            results.push(result);
            if (process.stderr.isTTY) process.stderr.write(`\r${results.length} of ${questions.length}`);
          });
        }),
    ),
  );
  if (process.stderr.isTTY) process.stderr.write("\r");
  let same = true;
  for (const [task, accuracy] of Object.entries(published.accuracy)) {
    const rows = results.filter((result) => task === "all" || result.task === task);
    const found = rows.filter((row) => row.passed).length / rows.length;
    same &&= Math.abs(found - accuracy) < 1e-4;
    console.log(`${task.padEnd(8)} ${String(rows.length).padStart(4)} questions  ${found.toFixed(4)}  published ${accuracy.toFixed(4)}`);
  }
  console.log(`${same ? "as published" : "not as published"}, ${((performance.now() - started) / 1000).toFixed(0)} s`);
  process.exitCode = same ? 0 : 1;
}

await (isMainThread ? main() : ask(workerData));
