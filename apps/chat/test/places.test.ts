// Where the chat page may find itself, in Chromium: beside another tab, without isolation, network or room, with other models. What is not
// installed is skipped, and says so.

import { afterAll, expect, test, vi } from "vitest";
import { filesOf, serve } from "../../../tooling/browsers/test/site.ts";
import { ask, builtPage, ChatPage, Chats, saidMoreThan, smallModelFiles } from "./chat-page.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });
const chats = new Chats();
afterAll(() => chats.close());

test("two tabs share one model; when one closes the other goes on", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  // What the page keeps for a visit without a network is fetched by then.
  await chat.until(`document.querySelector(".offline-ready")`);
  const other = await chat.tab();
  chat.site.asked.length = 0;
  await other.ready();
  await other.send(ask);
  await other.answer();
  // It fetched no model of its own.
  expect(chat.site.asked.filter((path) => path.startsWith("model/") || path.includes("jamba-"))).toEqual([]);
  await chat.until(`document.querySelectorAll(".conversations .open").length === 1`);
  const isLoading = await other.phase("loading");
  await chat.page.puppeteer!.close();
  await isLoading();
  await other.ready();
  await other.send("Who is Mia?");
  await other.answer(1);
  expect((await other.figures()).again).toBe(0);
  expect(other.problems).toEqual([]);
  await other.close();
});

test("an answer goes on without the tab that asked for it, shows in another and is kept", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  const asking = await chat.tab();
  await asking.ready();
  const writing = await chat.holdWorkerAt(saidMoreThan(5));
  await asking.send(ask);
  await writing.held;
  await chat.until(`document.querySelectorAll(".conversations .open").length === 1`);
  await asking.page.puppeteer!.close();
  await chat.page.evaluate(`(document.querySelector(".conversations .open").click(), true)`);
  await writing.release();
  const answer = await chat.answer();
  expect(answer).toMatch(/Mia/);
  expect(await chat.page.evaluate(`document.querySelector("[data-end]").dataset.end`)).toBe("stop");
  // It goes on from there, in the same branch.
  await chat.send("Who is Mia?");
  await chat.answer(1);
  expect([(await chat.figures()).again, await chat.page.evaluate(`document.querySelector(".branches") === null`)]).toEqual([0, true]);
  await chat.kept(2);
  await chat.reload();
  await chat.until(`document.querySelectorAll(".conversations .open").length === 1`);
  await chat.page.evaluate(`(document.querySelector(".conversations .open").click(), true)`);
  await chat.until(`document.querySelectorAll(".message.assistant").length === 2`);
  expect(await chat.answer()).toBe(answer);
  expect(chat.problems).toEqual([]);
});

test("a worker that is ended in the middle of an answer is followed by another", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  await chat.endWorkerAt(`data.chunk?.type === "text-delta"`);
  await chat.send(ask);
  await chat.until(`document.querySelector(".notice.failed")?.innerText.includes("loaded again")`);
  await chat.picture("worker-gone");
  expect(await chat.faults()).toEqual([]);
  await chat.ready();
  await chat.press("Try again");
  expect(await chat.answer()).toMatch(/\w/);
  expect(chat.problems).toEqual([]);
});

test("a GPU that is lost is said so, and the processor goes on; without one the page says why", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip, { webgpu: true });
  const reason = `document.querySelector("dialog .field small")?.innerText`;
  await chat.ready();
  await chat.page.evaluate(`(document.querySelector(".pill").click(), true)`);
  await chat.until(`${reason}?.includes("No GPU: ")`);
  await chat.inWorker(`(() => {
    const { requestDevice } = GPUAdapter.prototype;
    GPUAdapter.prototype.requestDevice = async function (...options) {
      return (self.device = await requestDevice.apply(this, options));
    };
    let chars = 0;
    new BroadcastChannel("jamba-chat").onmessage = ({ data }) => {
      chars += data.chunk?.delta?.length ?? 0;
      if (chars > 5) self.device?.destroy();
    };
  })()`);
  const isLoading = await chat.phase("loading");
  await chat.page.evaluate(`(() => {
    const select = document.querySelector("dialog select");
    select.value = "webgpu";
    select.dispatchEvent(new Event("change", { bubbles: true }));
  })()`);
  await isLoading();
  await chat.ready();
  await chat.until(`${reason} && !${reason}.includes("No GPU: ")`);
  console.log(await chat.page.evaluate<string>(reason));
  expect(await chat.page.evaluate(`document.querySelector(".pill-state").innerText`)).toBe("GPU");
  await chat.picture("models-gpu");
  await chat.press("Close");
  await chat.send(ask);
  await chat.until(`document.querySelector(".notice.failed")?.innerText.includes("The GPU was lost")`);
  await chat.picture("gpu-lost");
  expect(await chat.faults()).toEqual([]);
  await chat.ready();
  await chat.press("Try again");
  expect(await chat.answer()).toMatch(/Mia/);
  await chat.page.evaluate(`(document.querySelector(".pill").click(), true)`);
  await chat.until(`${reason}?.includes("the device was lost")`);
  expect(chat.problems).toEqual([]);
});

test("what is written while no worker lives is kept by the next one", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  await chat.endWorkerAt(`data.name === "writeConversation"`);
  await chat.send(ask);
  expect(await chat.answer()).toMatch(/Mia/);
  expect(await chat.page.evaluate("document.body.innerText")).not.toContain("not kept");
  await chat.until(`document.querySelectorAll(".conversations .open").length === 1`);
  await chat.reload();
  await chat.until(`document.querySelectorAll(".conversations .open").length === 1`);
  expect(chat.problems).toEqual([]);
});

test("without isolation there is one thread, which the page says, until its service worker isolates it", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip, { isolated: false });
  await chat.ready();
  await chat.picture("not-isolated");
  expect(await chat.page.evaluate("crossOriginIsolated")).toBe(false);
  expect(await chat.page.evaluate("document.body.innerText")).toMatch(/1 thread[\s\S]*One thread: this host/);
  await chat.send(ask);
  expect(await chat.answer()).toMatch(/Mia/);
  await chat.until(`document.querySelector(".offline-ready")`);
  await chat.reload();
  expect(await chat.page.evaluate("crossOriginIsolated")).toBe(true);
  await chat.ready();
  expect(await chat.page.evaluate(`document.querySelector(".pill-state").innerText`)).toMatch(/[2-9]\d* threads/);
  expect(chat.problems).toEqual([]);
});

test("after a first visit the page opens, loads and answers without a network", async ({ skip }) => {
  const site = await serve(filesOf(await builtPage()), { isolated: true });
  const first = await chats.open("chromium", skip);
  const { page } = first;
  try {
    await page.goto(site.url);
    const chat = await ChatPage.open(page, site);
    await chat.ready();
    await chat.until(`document.querySelector(".offline-ready")`);
    // Nobody waits for the model to be kept, and it is large.
    while (!(await page.evaluate("caches.match('model/model.safetensors').then(Boolean)")))
      await new Promise((resolve) => setTimeout(resolve, 50));
    await site.close();
    await chat.reload();
    await chat.ready();
    await chat.send(ask);
    expect(await chat.answer()).toMatch(/Mia/);
    await chat.picture("offline");
  } finally {
    await page.close();
  }
});

test("files that are dropped are loaded from where they lie, and what is no model is said so", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  await chat.drop(`[new File(["hello"], "notes.txt")]`);
  await chat.until(`document.querySelector(".toast")?.innerText.includes("A model is a .gguf file")`);
  await chat.drop(`[new File(["not a model"], "broken.gguf")]`);
  await chat.until(`document.querySelector(".pill").dataset.phase === "failed"`);
  await chat.picture("failed-model");
  expect(await chat.faults()).toEqual([]);
  await chat.drop(smallModelFiles);
  await chat.until(`document.querySelector(".pill-name").innerText === "model.safetensors"`);
  await chat.ready();
  await chat.send(ask);
  expect(await chat.answer()).toMatch(/Mia/);
  expect(chat.problems).toEqual([]);
});

test("a model of the hub is looked at, fetched, used and deleted", async ({ skip }) => {
  const files = filesOf(await builtPage());
  const sizes = new Map([
    ["config.json", 0],
    ["generation_config.json", 0],
    ["tokenizer.json", 0],
    ["tokenizer_config.json", 0],
    ["model.safetensors", 0],
  ]);
  for (const name of sizes.keys()) sizes.set(name, (await files(`model/${name}`))!.length);
  const tree = [...sizes].map(([path, size]) => ({ type: "file", path, size }));
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const site = await serve(
    (path) => {
      if (path === "hub/api/models/local/tiny") return json({ sha: "c0ffee" });
      if (path === "hub/api/models/local/tiny/tree/c0ffee") return json(tree);
      return path.startsWith("hub/local/tiny/resolve/c0ffee/") ? files(`model/${path.slice(path.lastIndexOf("/") + 1)}`) : files(path);
    },
    { isolated: true },
  );
  const opened = await chats.open("chromium", skip);
  try {
    const chat = await ChatPage.open(opened.page, site, { query: `?hub=${encodeURIComponent(`${site.url}hub`)}` });
    await chat.ready();
    await chat.page.evaluate(`(document.querySelector(".pill").click(), true)`);
    await chat.fill(".add-model input", "local/tiny");
    await chat.press("Add");
    await chat.press("Does it fit?");
    await chat.until(`document.querySelector("[data-fits=true]")`);
    const headers = chat.site.asked.filter((path) => path.endsWith("model.safetensors"));
    expect(headers.filter((path) => path.startsWith("hub/")).length).toBeGreaterThan(0);
    await chat.picture("models");
    expect(await chat.faults()).toEqual([]);
    await chat.press("Download");
    await chat.until(`[...document.querySelectorAll(".model")].at(-1).innerText.includes("Use")`);
    await chat.press("Use");
    await chat.until(`document.querySelector(".pill-name").innerText === "local/tiny"`);
    await chat.ready();
    await chat.press("Close");
    await chat.send(ask);
    expect(await chat.answer()).toMatch(/Mia/);
    await chat.reload();
    await chat.ready();
    expect(await chat.page.evaluate(`document.querySelector(".pill-name").innerText`)).toBe("local/tiny");
    await chat.page.evaluate(`(document.querySelector(".pill").click(), true)`);
    await chat.press("Delete local/tiny");
    await chat.until(`![...document.querySelectorAll(".model")].some((one) => one.innerText.includes("local/tiny"))`);
  } finally {
    await opened.close();
    await site.close();
  }
});

test("where storage is denied the page says that nothing is kept, and answers", async ({ skip }) => {
  const files = filesOf(await builtPage());
  const denied = `StorageManager.prototype.getDirectory = () => Promise.reject(new DOMException("denied", "SecurityError"));`;
  const site = await serve(
    async (path) => {
      const file = await files(path);
      return file && path.includes("worker-") && !path.startsWith("service") ? Buffer.concat([Buffer.from(denied), file]) : file;
    },
    { isolated: true },
  );
  const opened = await chats.open("chromium", skip);
  try {
    const chat = await ChatPage.open(opened.page, site);
    await chat.until(`document.querySelector(".storage.warned")?.innerText.includes("denies storage")`);
    await chat.send(ask);
    expect(await chat.answer()).toMatch(/Mia/);
    await chat.until(`document.querySelectorAll(".conversations .open").length === 1`);
    await chat.picture("storage-denied");
    expect(await chat.faults()).toEqual([]);
    await chat.reload();
    await chat.until(`document.querySelector(".conversations .none")`);
    expect(chat.problems).toEqual([]);
  } finally {
    await opened.close();
    await site.close();
  }
});

test("a conversation that has no room is shown, and said to be not kept", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  const session = await chat.page.puppeteer!.createCDPSession();
  await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(chat.site.url).origin, quotaSize: 1 });
  await chat.send(ask);
  expect(await chat.answer()).toMatch(/Mia/);
  await chat.until(`document.body.innerText.includes("no more room")`);
  await chat.picture("no-room");
});
