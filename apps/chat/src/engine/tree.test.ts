import { loadModel, type ReadTree } from "jamba";
import { expect, test } from "vitest";
import type { TreeBranch } from "../channel/service.ts";
import { treeOf } from "./tree.ts";

const tokensOf = (branches: readonly TreeBranch[]): number =>
  branches.reduce((sum, { stretches, children }) => sum + stretches.reduce((all, { tokens }) => all + tokens, 0) + tokensOf(children), 0);

test("two answers to one question part behind it, and what came before is there once", async () => {
  const model = await loadModel("tiny");
  const session = model.session();
  await session.send("Who are you?", { maxTokens: 4 });
  const [one, other] = [await session.fork(), await session.fork()];
  await one.send("Tell me of Mia.", { maxTokens: 4 });
  await other.send("Write a story.", { maxTokens: 4 });
  const branches = treeOf({ readTree: () => model.readTree(), tokenizer: model.tokenizer });
  const [root] = branches;
  expect(branches).toHaveLength(1);
  expect(root.stretches.map(({ text }) => text).join("")).toContain("Who are you?");
  expect(root.children.map(({ stretches }) => stretches.at(-1)!.state)).toEqual(["held", "held"]);
  expect(tokensOf(branches)).toBe(one.tokens.length + other.tokens.length - root.stretches.at(-1)!.depth);
  for (const each of [session, one, other]) await each.dispose();
  await model.dispose();
});

test("a conversation of many turns is one branch, however long it is", () => {
  let node: ReadTree = { ids: [1], depth: 20_001, state: "kept", children: [] };
  for (let depth = 20_000; depth > 0; depth--) node = { ids: [1], depth, children: [node] };
  const root = { ids: [], depth: 0, children: [node] };
  const [branch] = treeOf({ readTree: () => root, tokenizer: { decode: () => "a" } });
  expect([branch.stretches.length, branch.children.length]).toEqual([20_001, 0]);
  expect(structuredClone(branch).stretches.at(-1)).toEqual({ text: "a", tokens: 1, depth: 20_001, state: "kept" });
});
