import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { messagesOf } from "./message-input.ts";
import { messagesRequest } from "./schemas/messages.ts";

const agent = JSON.parse(readFileSync(new URL("../test/coding-agent.json", import.meta.url), "utf8"));

const read = (body: object) => {
  const notes = { notEnforced: [], leftOut: [] as string[] };
  return { messages: messagesOf(messagesRequest.parse({ max_tokens: 1, ...body }), notes), leftOut: notes.leftOut };
};

test("a coding agent's request is read as turns: results after their calls, errors told, other kinds left out", () => {
  const { messages } = read(agent);
  expect(messages.map(({ role }) => role)).toEqual(["system", "user", "assistant", "tool", "tool", "system", "assistant", "user"]);
  expect(messages[0].content).toMatch(/^You are a coding agent\.\n\n\nYou help/);
  expect(messages[1].content).toMatch(/<\/system-reminder>\n\nWhy does/);
  expect(messages[2]).toMatchObject({
    content: "I read the test.",
    reasoning_content: "I look at the test.",
    tool_calls: [{ id: "toolu_01A", function: { name: "Read" } }, { id: "toolu_01B" }],
  });
  expect(messages[4]).toEqual({ role: "tool", tool_call_id: "toolu_01B", content: "Error: Exit code 1\n1 failed" });
});

test("thoughts of the history reach the template, whether or not more are asked for", () => {
  const content = [
    { type: "thinking", thinking: "Hm.", signature: "x" },
    { type: "text", text: "Yes." },
  ];
  expect(
    read({
      messages: [
        { role: "user", content: "Is it?" },
        { role: "assistant", content },
        { role: "user", content: "Why?" },
      ],
    }).messages[1],
  ).toEqual({
    role: "assistant",
    content: "Yes.",
    reasoning_content: "Hm.",
  });
});

test("documents and search results are read as text, turns of one role as one, blocks of other kinds are left out with a note", () => {
  const { messages, leftOut } = read({
    system: [],
    messages: [
      {
        role: "user",
        content: [
          {
            type: "document",
            title: "Foxes",
            context: "A book",
            source: { type: "text", media_type: "text/plain", data: "Red." },
            citations: { enabled: true },
          },
        ],
      },
      {
        role: "user",
        content: [
          {
            type: "document",
            source: {
              type: "content",
              content: [
                { type: "text", text: "One." },
                { type: "text", text: "Two." },
              ],
            },
          },
        ],
      },
      {
        role: "user",
        content: [
          { type: "search_result", source: "a.example", title: "Bells", content: [{ type: "text", text: "Loud." }] },
          { type: "container_upload", file_id: "x" },
        ],
      },
      {
        role: "assistant",
        content: [
          { type: "server_tool_use", id: "s", name: "web_search", input: {} },
          { type: "text", text: "So" },
        ],
      },
      {
        role: "assistant",
        content: [
          { type: "web_search_tool_result", tool_use_id: "s", content: [] },
          { type: "text", text: " it is." },
        ],
      },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "a" },
          { type: "tool_result", tool_use_id: "b", is_error: true, content: "Error: gone" },
          { type: "text", text: "Well?" },
        ],
      },
    ],
  });
  expect(messages).toEqual([
    { role: "user", content: "Foxes\n\nA book\n\nRed.\n\nOne.\n\nTwo.\n\nBells\n\na.example\n\nLoud." },
    { role: "assistant", content: "So it is." },
    { role: "tool", tool_call_id: "a", content: "" },
    { role: "tool", tool_call_id: "b", content: "Error: gone" },
    { role: "user", content: "Well?" },
  ]);
  expect(leftOut).toEqual([
    "messages[2].content[1] (container_upload)",
    "messages[3].content[0] (server_tool_use)",
    "messages[4].content[0] (web_search_tool_result)",
  ]);
});

test("many blocks and many answers in a row are joined in a time that grows with them", () => {
  const block = { type: "text" as const, text: "some words" };
  const start = performance.now();
  const blocks = Array.from({ length: 100_000 }, () => block);
  const answers = Array.from({ length: 100_000 }, () => ({ role: "assistant" as const, content: "some words" }));
  const found = messagesOf({ messages: [{ role: "user", content: blocks }, ...answers] } as never, { notEnforced: [], leftOut: [] });
  expect(found.map(({ content }) => String(content).length)).toEqual([1_199_998, 1_000_000]);
  // Copied for each it takes minutes.
  expect(performance.now() - start).toBeLessThan(5000);
});
