// The same page in the other engines: Firefox, and WebKitGTK, which has neither threads nor a private file system. What is not installed is
// skipped, and says so.

import { afterAll, expect, test } from "vitest";
import type { Engine } from "../../../tooling/browsers/test/driver.ts";
import { ask, Chats, smallModelFiles } from "./chat-page.ts";

const chats = new Chats();
afterAll(() => chats.close());

test.for<Engine>(["firefox", "webkit"])("%s answers, stops, resumes after a reload and takes dropped files", async (engine, { skip }) => {
  await using chat = await chats.open(engine, skip);
  await chat.ready();
  await chat.picture(`${engine}-empty`);
  const shown = await chat.page.evaluate<{ threads: boolean; isKept: boolean; text: string }>(
    `({ threads: typeof SharedArrayBuffer === "function", isKept: document.querySelector(".storage.warned") === null, text: document.body.innerText })`,
  );
  // What is lost is said.
  expect(/One thread: this/.test(shown.text)).toBe(!shown.threads);
  expect(/Nothing is kept when this tab is closed/.test(shown.text)).toBe(!shown.isKept);
  await chat.send(ask);
  expect(await chat.answer()).toMatch(/Mia/);
  for (const known: string[] = []; ; ) {
    known.push(await chat.page.evaluate<string>(`document.querySelector(".message.assistant").dataset.id`));
    await chat.press("Regenerate answer");
    if (await chat.stopEarly(known)) break;
  }
  await chat.answer();
  await chat.send("Who is Mia?");
  await chat.answer(1);
  expect((await chat.figures()).again).toBe(0);
  await chat.page.evaluate(`document.documentElement.dataset.theme = "dark"`);
  await chat.until(`getComputedStyle(document.documentElement).backgroundColor.includes("23, 21, 19")`);
  await chat.picture(`${engine}-dark`);
  await chat.page.resize(390, 780);
  await chat.until(`document.querySelector(".narrow-only").offsetWidth > 0`);
  expect(await chat.page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
  await chat.picture(`${engine}-narrow`);
  await chat.page.resize(1280, 800);
  expect(await chat.page.evaluate(`document.querySelector(".notice") === null`)).toBe(true);
  if (shown.isKept) await chat.kept(3);

  await chat.reload();
  if (shown.isKept) {
    await chat.until(`document.querySelectorAll(".conversations .open").length === 1`);
    await chat.page.evaluate(`(document.querySelector(".conversations .open").click(), true)`);
    await chat.until(`document.querySelectorAll(".message.assistant").length === 2`);
    await chat.ready();
    await chat.send("Where did Mia go?");
    await chat.answer(2);
    expect((await chat.figures()).again).toBe(0);
  } else await chat.until(`document.querySelector(".conversations .none")`);
  await chat.ready();
  await chat.drop(smallModelFiles);
  await chat.until(`document.querySelector(".pill-name").innerText === "model.safetensors"`);
  await chat.ready();
  await chat.press("New conversation");
  await chat.send(ask);
  expect(await chat.answer()).toMatch(/Mia/);
  console.log(
    `${engine}: ${await chat.page.evaluate<string>(`document.querySelector(".pill-state").innerText`)}, ${shown.isKept ? "kept" : "nothing kept"}`,
  );
  expect(chat.problems).toEqual([]);
});
