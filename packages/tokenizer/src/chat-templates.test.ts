import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type ChatOptions, loadTokenizer } from "./index.ts";

const json = JSON.parse(readFileSync(new URL("../../tiny-model/tokenizer.json", import.meta.url), "utf8"));
const load = (chat_template: unknown) => loadTokenizer(json, { chat_template });
const listed = (...names: string[]) => names.map((name) => ({ name, template: `{# #}${name}` }));
const tools = [{ type: "function", function: { name: "f" } }];

describe("of several templates", () => {
  test.each<[string, unknown, ChatOptions, string]>([
    ["the only one, with tools too", "A", { tools }, "A"],
    ["the default", listed("rag", "tool_use", "default"), {}, "default"],
    ["tool_use for tools", listed("default", "tool_use"), { tools }, "tool_use"],
    ["the default for tools, without tool_use", listed("rag", "default"), { tools }, "default"],
    ["tool_use for tools, without a default", listed("rag", "tool_use"), { tools }, "tool_use"],
    ["the default where the list of tools is empty", listed("default", "tool_use"), { tools: [] }, "default"],
    ["the default for documents", listed("default", "rag"), { documents: [{ text: "x" }] }, "default"],
    ["one that is named", listed("default", "rag"), { template: "rag", tools }, "rag"],
    ["one that is given", listed("default", "rag"), { template: "{{ 1 }}" }, "1"],
    ["one that is given before the only one", "A", { template: "default" }, "default"],
    ["those of an object", { default: "D", tool_use: "T" }, { tools }, "T"],
    ["of two with one name the last, as in Python", [...listed("default"), { name: "default", template: "L" }], {}, "L"],
  ])("transformers takes %s", (_, chat_template, options, expected) => {
    expect(load(chat_template).renderChat([], options)).toBe(expected);
  });

  test("the text of a template's own file takes the place of all", () => {
    const tokenizer = loadTokenizer(json, { chat_template: listed("default", "tool_use") }, { chatTemplate: "own" });
    expect([tokenizer.chatTemplate, tokenizer.renderChat([], { tools })]).toEqual(["own", "own"]);
  });

  test("none is taken where there is no default, not even the built-in form", () => {
    const tokenizer = load(listed("tool_use", "rag"));
    expect(tokenizer.chatTemplate).toBeUndefined();
    expect(() => tokenizer.renderChat([])).toThrow(
      expect.objectContaining({
        code: "TOKENIZER",
        message: expect.stringMatching(/expected one named default, found rag, tool_use; pass/),
      }),
    );
    expect(() => load(listed("rag")).renderChat([], { tools })).toThrow(/expected one named default or tool_use, found rag;/);
    expect(tokenizer.renderChat([{ role: "user", content: "Hi" }], { form: "jamba" })).toContain("<|user|> Hi");
  });
});

test.each([[5], [[]], [{}], [["A"]], [[{ name: "default" }]], [{ default: 1 }], [true]])("%j is no template, and is refused", (found) => {
  expect(() => load(found)).toThrow(
    expect.objectContaining({ code: "TOKENIZER", message: expect.stringMatching(/^tokenizer_config\.json: chat_template: expected/) }),
  );
});

test("null is no template: the built-in form is used", () => {
  expect(load(null).renderChat([{ role: "user", content: "Hi" }])).toContain("<|bom|><|user|> Hi");
});
