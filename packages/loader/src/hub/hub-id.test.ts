import { expect, it } from "vitest";
import { checkRevision, isHubId, parseHubId } from "./hub-id.ts";

it.each([
  ["ai21labs/AI21-Jamba-Reasoning-3B", undefined],
  ["a/b", undefined],
  ["a_1/b.c-d_2", undefined],
  ["owner/name-GGUF:Q4_K_M", "Q4_K_M"],
  ["owner/name:sub/file-00001-of-00002.gguf", "sub/file-00001-of-00002.gguf"],
])("%s is a hub id", (text, wanted) => {
  expect(isHubId(text)).toBe(true);
  expect(parseHubId(text)).toEqual({ repo: text.split(":")[0], wanted });
});

it.each([
  ["tiny"],
  ["gpt2"],
  [""],
  ["/"],
  ["a/"],
  ["/a"],
  ["a/b/c"],
  ["./a"],
  ["../a"],
  ["~/a"],
  ["a/.."],
  ["a/b:"],
  ["a b/c"],
  ["models/jamba.gguf"],
  ["x/config.json"],
  ["https://huggingface.co/a/b"],
  ["C:/models"],
  ["C:\\a/b"],
  ["a--b/c"],
  ["a/b..c"],
  ["-a/b"],
  ["a/b-"],
  [`a/${"b".repeat(97)}`],
  ["a/b\0"],
  ["a/é"],
])("%j is none", (text) => {
  expect(isHubId(text)).toBe(false);
  expect(() => parseHubId(text)).toThrow(expect.objectContaining({ code: "OPTION" }));
});

it.each([["a/b:../x.gguf"], ["a/b:/x"], ["a/b:x\\y"], ["a/b:x\0"]])("%j leaves the repository", (text) => {
  expect(() => parseHubId(text)).toThrow(/a path that leaves it/);
});

it.each([["main"], ["refs/pr/1"], ["v1.0"], ["feature/x_y-z"], ["c".repeat(40)]])("%s is a revision", (revision) => {
  expect(() => checkRevision(revision)).not.toThrow();
});

it.each([[""], ["../main"], ["a//b"], ["/main"], ["a b"], ["a\\b"], ["a:b"], ["a^"], ["x\0"], [undefined], [3]])(
  "%j is none",
  (revision) => {
    expect(() => checkRevision(revision as string)).toThrow(/expected a branch, a tag or a commit/);
  },
);
