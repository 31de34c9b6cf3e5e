// What is a model, what is a text, and what is neither: no slip of the keyboard ends as a prompt for another model.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { jamba } from "../test/jamba.ts";
import { hubIdOf, modelOf, splitModel } from "./model-word.ts";

const root = mkdtempSync(join(tmpdir(), "jamba-words-"));
const commit = "0123456789abcdef0123456789abcdef01234567";
beforeAll(() => {
  for (const name of ["models--me--story-teller", "models--you--twice", "models--they--twice"]) {
    mkdirSync(join(root, "cache", name, "snapshots", commit), { recursive: true });
    writeFileSync(join(root, "cache", name, "snapshots", commit, "config.json"), "{}");
  }
  mkdirSync(join(root, "models with a space", "mine"), { recursive: true });
  writeFileSync(join(root, "weights.gguf"), "");
  vi.stubEnv("HF_HUB_CACHE", join(root, "cache"));
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

describe("the first word is the model", () => {
  test.each([
    ["tiny", "tiny"],
    ["https://host/a", "https://host/a"],
    ["owner/name", "owner/name"],
    ["owner/name:Q4_K_M", "owner/name:Q4_K_M"],
    ["Jamba2-3B", "ai21labs/AI21-Jamba2-3B"],
    ["jamba2-3b", "ai21labs/AI21-Jamba2-3B"],
    ["AI21-Jamba2-Mini", "ai21labs/AI21-Jamba2-Mini"],
    ["AI21LABS/ai21-jamba2-mini", "ai21labs/AI21-Jamba2-Mini"],
    ["Jamba-v0.1", "ai21labs/Jamba-v0.1"],
    ["jamba-reasoning-3b-gguf", "ai21labs/AI21-Jamba-Reasoning-3B-GGUF:Q4_K_M"],
    ["jamba-reasoning-3b-gguf:F16", "ai21labs/AI21-Jamba-Reasoning-3B-GGUF:F16"],
    ["story-teller", "me/story-teller"],
    ["me/story-teller", "me/story-teller"],
    [join(root, "weights.gguf"), join(root, "weights.gguf")],
    [join(root, "models with a space/mine"), join(root, "models with a space/mine")],
  ])("%s", async (word, model) => {
    expect(await splitModel([word, "hi"], "run")).toEqual({ model, rest: ["hi"] });
    expect(await modelOf(word)).toBe(model);
  });
});

describe("the first word begins a text", () => {
  test.each([
    [["Once upon a time"]],
    [["Once", "upon", "a", "time"]],
    [["hello"]],
    [["time", "flies"]],
    [["In", "2024"]],
    [["Tony", "is"]],
    [["covid-19", "is"]],
    [["well-known"]],
    [["tyni is a word"]],
    [["a/b or c/d"]],
    [["/imagine a house"]],
    [["Jambalaya", "is"]],
    [["12:30"]],
    [["e.g."]],
    [["数学"]],
    [[""]],
    [["-"]],
  ])("%j", async (words) => {
    expect(await splitModel(words, "run")).toEqual({ model: "tiny", rest: words });
  });
});

describe("neither: an error that names the nearest", () => {
  test.each([
    ["tyni", /did you mean tiny\?.*jamba run tiny tyni …/],
    ["tiny1", /did you mean tiny\?/],
    ["tin", /did you mean tiny\?/],
    ["tniy", /did you mean tiny\?/],
    ["Tiny", /did you mean tiny\?/],
    ["TINY", /did you mean tiny\?/],
    ["jamba2-3", /did you mean Jamba2-3B/],
    ["Jamba2-4B", /did you mean Jamba2-3B/],
    ["jamba2-mni", /did you mean Jamba2-Mini/],
    ["story-tellre", /did you mean me\/story-teller\?/],
    ["story_teller", /did you mean me\/story-teller\?/],
    ["jamba", /found none of that name; there are tiny, Jamba2-3B/],
    ["llama3:8b", /found none of that name; there are tiny/],
    ["mistral-7b-instruct", /found none of that name/],
    ["llama3:latest", /found none of that name/],
    ["gemma-2-q4_k_m", /found none of that name/],
    ["./nothing", /found no such file or folder/],
    ["~/no-such-model", /found no such file or folder/],
    ["a/b/c", /found none of that name/],
    ["C:\\models\\x", /found none of that name/],
    ["hf://owner/name", /found none of that name/],
    ["model.bin", /found none of that name/],
    ["wieghts.gguf", /found no such file or folder/],
    ["twice", /expected the name of one model, found 2: they\/twice, you\/twice/],
  ])("%s", async (word, message) => {
    await expect(splitModel([word, "hi"], "run")).rejects.toThrow(message);
    await expect(modelOf(word)).rejects.toThrow(/expected/);
  });

  test("of a path that is not there, what lies beside it", async () => {
    await expect(modelOf(join(root, "wieghts.gguf"))).rejects.toThrow(`did you mean ${join(root, "weights.gguf")}?`);
    await expect(splitModel([join(root, "models with a spcae")], "run")).rejects.toThrow(
      `did you mean ${join(root, "models with a space")}?`,
    );
  });

  test("an ordinary word too where nothing but a model may stand", async () => {
    for (const command of ["chat", "inspect", "bench", "serve", "score", "eval", "prepare", "quantize"]) {
      const more = { eval: ["x.jsonl"], prepare: ["x", "--dtype", "q8"], quantize: ["x.gguf", "--dtype", "q8"], score: ["--prompt", "a"] };
      const found = await jamba([command, "hello", ...((more as Record<string, string[]>)[command] ?? [])]);
      expect([command, found]).toMatchObject([command, { code: 2, stdout: "", stderr: expect.stringMatching(/hello: expected a model/) }]);
    }
  });
});

test("the command ends with 2 and writes no answer", async () => {
  const found = await jamba(["run", "tyni", "hi"]);
  expect(found).toMatchObject({ code: 2, stdout: "" });
  expect(found.stderr).toBe(
    "jamba: [USAGE] tyni: expected a model, found none of that name; did you mean tiny? As a text it stands behind the model: jamba run tiny tyni …\n",
  );
  expect(await jamba(["tokenize", "tyni"])).toMatchObject({ code: 2, stdout: "" });
  expect(await jamba(["tokenize", "tiny", "tyni"])).toMatchObject({ code: 0 });
});

test("names of the family can be downloaded, and others are left to the hub", async () => {
  expect(await hubIdOf("jamba2-3b")).toBe("ai21labs/AI21-Jamba2-3B");
  expect(await hubIdOf("owner/name:Q8_0")).toBe("owner/name:Q8_0");
  expect(await hubIdOf("nonsense")).toBe("nonsense");
  await expect(hubIdOf("jamba2-3bb")).rejects.toThrow(/did you mean Jamba2-3B/);
});

test("every answer says whose it is, in one line that --quiet leaves out", async () => {
  const args = ["-n", "2"];
  const line = /(^|; | {2}|, )tiny( on (cpu|wasm|reference), bf16 weights)?$/m;
  for (const command of [
    ["run", "hi", ...args],
    ["run", "hi", "--chat", ...args],
    ["tokenize", "hi"],
  ]) {
    expect((await jamba(command)).stderr).toMatch(line);
    expect((await jamba([...command, "--quiet"])).stderr).toBe("");
    expect((await jamba([...command, "--json"])).stderr).toBe("");
  }
  expect((await jamba(["chat", ...args], { input: "hi\n" })).stderr).toMatch(line);
  const score = ["score", "--prompt", "Once", "--continuation", " upon"];
  expect((await jamba(score)).stderr).toMatch(line);
  expect((await jamba([...score, "-q"])).stderr).toBe("");
});
