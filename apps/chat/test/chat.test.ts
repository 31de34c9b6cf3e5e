// What a person does on the chat page, in Chromium. What is not installed is skipped, and says so.

import { afterAll, expect, test } from "vitest";
import { Chats } from "./chat-page.ts";

const chats = new Chats();
afterAll(() => chats.close());

const ask = "Write a story about Mia, a fox and a silver boat.";

test("a page that holds nothing answers, and nothing of it complains", async ({ skip }) => {
  const chat = await chats.open("chromium", skip);
  try {
    await chat.send(ask);
    const answer = await chat.answer();
    expect(answer).toMatch(/Mia/);
    expect(answer.length).toBeGreaterThan(100);
    await chat.picture("first-answer");
    expect(chat.problems).toEqual([]);
    const firstMs = await chat.page.evaluate<number>("performance.now()");
    console.log(`first answer, whole, ${Math.round(firstMs)} ms after the navigation`);
  } finally {
    await chat.close();
  }
});

test("stop ends an answer with what there is, which the next turn goes on from", async ({ skip }) => {
  const chat = await chats.open("chromium", skip);
  try {
    await chat.ready();
    await chat.send(ask);
    await chat.until(`document.querySelector(".message.assistant .markdown")?.innerText.length > 20`);
    await chat.press("Stop");
    const stopped = await chat.answer();
    expect(stopped.length).toBeGreaterThan(20);
    await chat.until(`document.querySelector(".figures").innerText.includes("stopped")`);
    await chat.send("Who is Mia?");
    await chat.answer(1);
    const { read, kept } = await chat.figures();
    expect([kept > 20, read < 20]).toEqual([true, true]);
    expect(chat.problems).toEqual([]);
  } finally {
    await chat.close();
  }
});
