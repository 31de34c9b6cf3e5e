// A process with llama.cpp in it, for llama-cpp.test.ts: what it can't load ends the process, not the tests.
// Reads { jobs: [{ file, ids, steps, texts }] } from stdin; writes a line of JSON for each job that was done.

import { getLlama } from "node-llama-cpp";

const input = await new Promise((resolve) => {
  let text = "";
  process.stdin.setEncoding("utf8");
  process.stdin.on("data", (piece) => {
    text += piece;
  });
  process.stdin.on("end", () => resolve(JSON.parse(text)));
});

const write = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);
const warnings = [];
const logger = (level, message) => (level === "warn" ? warnings.push(message) : process.stderr.write(`${message}\n`));
const llama = await getLlama({ gpu: false, build: "never", logLevel: "warn", logger, maxThreads: 1 });
write({ release: llama.llamaCppRelease.release });

for (const { file, ids, steps, texts } of input.jobs) {
  const model = await llama.loadModel({ modelPath: file });
  // Keys and values exact, as ours are where the weights are.
  const kv = { experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" };
  const context = await model.createContext({ contextSize: 512, batchSize: 512, threads: 1, flashAttention: false, ...kv });
  const sequence = context.getSequence();
  const read = await sequence.controlledEvaluate(ids.map((id) => [id, { generateNext: { logits: true, options: { temperature: 0 } } }]));
  const logits = read.map(({ next }) => {
    const row = [];
    for (const [token, logit] of next.logits) row[token] = logit;
    return row;
  });
  await sequence.clearHistory();
  const greedy = [];
  for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
    greedy.push(token);
    if (greedy.length === steps) break;
  }
  const tokens = texts.map((text) => [...model.tokenize(text, true)]);
  const ends = [...Array(20).keys()].filter((id) => model.isEogToken(id));
  write({ logits, greedy, tokens, ends, warnings: warnings.splice(0) });
  await model.dispose();
}
