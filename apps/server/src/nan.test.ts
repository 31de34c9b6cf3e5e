// Weights that are no numbers: every route that computes says that it failed, and none answers with null where a number belongs.

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, expect, test } from "vitest";
import { posted } from "../test/requests.ts";
import { createApp, Service } from "./index.ts";

let model: JambaModel;
const folder = mkdtempSync(join(tmpdir(), "jamba-nan-"));
beforeAll(async () => {
  const from = dirname(createRequire(import.meta.url).resolve("@jamba/tiny-model/package.json"));
  cpSync(from, folder, { recursive: true, filter: (path) => !path.includes("node_modules") });
  const name = readdirSync(folder, { recursive: true, encoding: "utf8" }).find((path) => path.endsWith(".safetensors"))!;
  const bytes = readFileSync(join(folder, name));
  const length = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, { data_offsets: [number, number] }>;
  const [begin, end] = Object.entries(header).find(([tensor]) => /final_layernorm\.weight$/.test(tensor))![1].data_offsets;
  bytes.fill(0xff, 8 + length + begin, 8 + length + end);
  writeFileSync(join(folder, name), bytes);
  model = await loadModel(folder);
});
afterAll(async () => {
  await model?.dispose();
  rmSync(folder, { recursive: true });
});

const messages = [{ role: "user", content: "Hi" }];
test.for([
  ["/v1/embeddings", { input: ["a fox", "a kite"] }],
  ["/v1/rerank", { query: "fox", documents: ["a fox", "a kite"] }],
  ["/v1/chat/completions", { messages, max_tokens: 2, logprobs: true, top_logprobs: 2 }],
  ["/v1/completions", { prompt: "A fox", max_tokens: 2, logprobs: 2, echo: true }],
  ["/v1/completions", { prompt: "A fox", max_tokens: 0, logprobs: 2, echo: true }],
  ["/v1/messages", { messages, max_tokens: 2 }],
  ["/v1/responses", { input: "Hi", max_output_tokens: 2 }],
] as const)("%s", async ([path, body]) => {
  const response = await createApp(new Service(model, "tiny")).request(path, posted(body));
  expect([response.status, await response.json()]).toMatchObject([500, { error: { message: expect.stringContaining("failed") } }]);
});
