// What a person does on the chat page, in Chromium. What is not installed is skipped, and says so.

import { gzipSync } from "node:zlib";
import { afterAll, expect, test, vi } from "vitest";
import { filesOf } from "../../../tooling/browsers/test/site.ts";
import { ask, builtPage, type ChatPage, Chats, saidMoreThan } from "./chat-page.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });
const chats = new Chats();
afterAll(() => chats.close());

/** Bytes, gzipped, of the code that was asked for: without the kernels' module and without the model. */
async function codeBytes(asked: readonly string[]): Promise<number> {
  const files = filesOf(await builtPage());
  // What comes after is what the page keeps for a visit without a network.
  const end = asked.includes("service-worker.js") ? asked.indexOf("service-worker.js") : asked.length;
  const code = [...new Set(asked.slice(0, end))].filter((path) => /\.(html|js|css)$/.test(path) && !/\.wasm-|^service-worker/.test(path));
  const sizes = await Promise.all(code.map(async (path) => gzipSync((await files(path))!, { level: 9 }).length));
  return sizes.reduce((sum, size) => sum + size, 0);
}

test("a page that holds nothing answers, of code within its budget, and nothing of it complains", async ({ skip }) => {
  const before = () => {
    const tasks: number[] = [];
    Object.assign(globalThis, { tasks });
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  };
  await using chat = await chats.open("chromium", skip, { before });
  await chat.picture("empty");
  await chat.send(ask);
  const answer = await chat.answer();
  const firstMs = await chat.page.evaluate<number>("performance.now()");
  const tasks = await chat.page.evaluate<number[]>("tasks");
  const bytes = await codeBytes(chat.site.asked);
  const blocked = tasks.length > 0 ? `blocked for ${tasks.join(", ")} ms` : "never blocked for 50 ms";
  console.log(
    `${(bytes / 1000).toFixed(1)} kB of code; the first answer is whole ${Math.round(firstMs)} ms after the navigation; the page was ${blocked}`,
  );
  expect(answer).toMatch(/Mia/);
  expect(answer.length).toBeGreaterThan(100);
  expect(bytes).toBeLessThanOrEqual(250_000);
  expect(await chat.page.evaluate(`document.querySelector(".storage .warned") === null`)).toBe(true);
  await chat.press("Under the hood");
  await chat.until(`document.querySelectorAll(".stretch").length > 0`);
  await chat.picture("answer-inspector");
  expect(await chat.faults()).toEqual([]);
  await chat.page.puppeteer!.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: "dark" },
    { name: "prefers-reduced-motion", value: "reduce" },
  ]);
  await chat.picture("answer-dark");
  expect(await chat.faults()).toEqual([]);
  await chat.page.puppeteer!.setViewport({ width: 390, height: 780 });
  await chat.press("Under the hood");
  await chat.picture("narrow-dark");
  await chat.press("Conversations");
  await chat.until(`document.querySelector("dialog .conversations li")`);
  await chat.picture("narrow-drawer");
  expect(await chat.faults()).toEqual([]);
  await chat.press("Close");
  expect(await chat.page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
  await chat.press("Settings");
  await chat.until(`document.querySelector("dialog .segments")`);
  await chat.picture("settings-narrow-dark");
  expect(await chat.faults()).toEqual([]);
  await chat.page.puppeteer!.emulateMediaFeatures([]);
  await chat.page.puppeteer!.setViewport({ width: 1280, height: 800 });
  await chat.picture("settings");
  expect(await chat.faults()).toEqual([]);
  expect(chat.problems).toEqual([]);
});

test("stop ends an answer with what there is, which the next turn goes on from", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  // Before there is a word of it: nothing is lost by that.
  const asked = await chat.holdWorkerAt(`data.name === "answer"`);
  await chat.send(ask);
  await asked.held;
  await chat.press("Stop");
  await asked.release();
  await chat.until(`document.querySelector(".notice")?.innerText.includes("not answered") || document.querySelector("[data-end]")`);
  const writing = await chat.holdWorkerAt(saidMoreThan(20));
  if (await chat.page.evaluate(`document.querySelector("[data-end]") === null`)) await chat.press("Answer it");
  else await chat.press("Regenerate answer");
  await writing.held;
  await chat.press("Stop");
  await writing.release();
  expect((await chat.answer()).length).toBeGreaterThan(10);
  expect(await chat.page.evaluate(`document.querySelector(".figures").innerText`)).toContain("stopped");
  await chat.send("Who is Mia?");
  await chat.answer(1);
  const { read, kept, again } = await chat.figures();
  expect([kept > 20, read < 20, again]).toEqual([true, true, 0]);
  expect(chat.problems).toEqual([]);
});

/** The first sentence of the next answer comes as a thought, since the small model has none. */
const thinking = `(() => {
  const { postMessage } = BroadcastChannel.prototype;
  let isThinking = true;
  BroadcastChannel.prototype.postMessage = function (data) {
    const { chunk } = data;
    const send = (chunk) => postMessage.call(this, { ...data, chunk });
    if (!isThinking || !chunk?.type.startsWith("text-")) return postMessage.call(this, data);
    send({ ...chunk, type: chunk.type.replace("text", "reasoning") });
    if (!chunk.delta?.includes(".")) return;
    isThinking = false;
    send({ type: "reasoning-end", id: chunk.id });
    send({ type: "text-start", id: chunk.id });
  };
})()`;

test("thoughts are folded, while they come and after", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  await chat.inWorker(thinking);
  const writing = await chat.holdWorkerAt(`data.chunk?.type === "reasoning-delta"`);
  await chat.send(ask);
  await writing.held;
  await chat.until(`document.querySelector(".folded summary")?.innerText.includes("Thinking")`);
  const shown = `document.querySelector(".folded .markdown").checkVisibility()`;
  expect(await chat.page.evaluate(`[document.querySelector(".folded").open, ${shown}]`)).toEqual([false, false]);
  await writing.release();
  const said = await chat.answer(0, 1);
  await chat.until(`document.querySelector(".folded summary").innerText.includes("Thoughts")`);
  const thoughts = await chat.page.evaluate<string>(`document.querySelector(".folded .markdown").textContent`);
  expect([thoughts.includes("."), said.length > 20, said.includes(thoughts)]).toEqual([true, true, false]);
  expect(await chat.page.evaluate(shown)).toBe(false);
  await chat.page.evaluate(`(document.querySelector(".folded summary").click(), true)`);
  await chat.until(shown);
  await chat.picture("thoughts");
  expect(await chat.faults()).toEqual([]);
  expect(chat.problems).toEqual([]);
});

test("one conversation or all are exported as files, which bring them back", async ({ skip }) => {
  const before = () => {
    const given: { name: string; file: Blob }[] = [];
    let file: Blob;
    URL.createObjectURL = (blob) => {
      file = blob as Blob;
      return "#";
    };
    HTMLAnchorElement.prototype.click = function () {
      given.push({ name: this.download, file });
    };
    Object.assign(globalThis, { given });
  };
  await using chat = await chats.open("chromium", skip, { before });
  await importAndOpen(chat, exported(["Hello", "Hi"], "My first: talk"));
  await importAndOpen(chat, exported(["Bye", "Ciao"], "Second").replaceAll("c1", "c2"));
  await chat.until(`document.querySelectorAll(".conversations .open").length === 2`);
  for (const [i, label] of ["Export all", "Export My first: talk"].entries()) {
    await chat.press(label);
    await chat.until(`given.length === ${i + 1}`);
  }
  const given = await chat.page.evaluate<{ name: string; ids: string[] }[]>(
    `Promise.all(given.map(async ({ name, file }) => ({ name, ids: JSON.parse(await file.text()).conversations.map(({ id }) => id) })))`,
  );
  expect(given).toEqual([
    { name: expect.stringMatching(/^jamba-conversations-\d{4}-\d\d-\d\d\.json$/), ids: ["c1", "c2"] },
    { name: expect.stringMatching(/^jamba-My-first-talk-/), ids: ["c1"] },
  ]);
  await chat.press("Delete My first: talk");
  await chat.until(`document.querySelectorAll(".conversations .open").length === 1`);
  await chat.choose(".exchange input", "[new File([given[1].file], given[1].name)]");
  await chat.until(`document.querySelectorAll(".conversations .open").length === 2`);
  expect(chat.problems).toEqual([]);
});

const branch = `document.querySelector(".branches")?.ariaLabel`;

test("edits and other answers are branches, which stay through a reload that reads nothing again", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.send(ask);
  const first = await chat.answer();
  await chat.press("Edit message");
  await chat.fill(".edit textarea", "Write a story about Omar and a bear.");
  await chat.press("Send as a branch");
  await chat.until(`${branch} === "Branch 2 of 2"`);
  expect(await chat.answer()).not.toBe(first);
  await chat.press("Branch before");
  await chat.until(`${branch} === "Branch 1 of 2"`);
  expect(await chat.answer()).toBe(first);
  await chat.press("Regenerate answer");
  await chat.until(`document.querySelectorAll(".branches").length === 2`);
  const second = await chat.answer();
  await chat.picture("branches");
  // The prompt is the same: not one token of it is read.
  expect(await chat.figures()).toMatchObject({ read: 0 });
  await chat.send("Who is Mia?");
  const third = await chat.answer(1);
  await chat.kept(4);

  await chat.reload();
  await chat.until(`document.querySelectorAll(".conversations .open").length === 1`);
  await chat.page.evaluate(`(document.querySelector(".conversations .open").click(), true)`);
  await chat.until(`document.querySelectorAll(".message.assistant").length === 2`);
  expect([await chat.answer(0), await chat.answer(1)]).toEqual([second, third]);
  await chat.ready();
  await chat.send("Where did Mia go?");
  await chat.answer(2);
  const { kept, read, again } = await chat.figures();
  console.log(`after a reload: ${kept} tokens kept, ${read} read, ${again} of them again`);
  expect([again, kept > 60, read < 20]).toEqual([0, true, true]);
  await chat.fill(".search input", "omar bear");
  await chat.until(`document.querySelector(".conversations small")?.innerText.includes("Omar")`);
  expect(chat.problems).toEqual([]);
});

test("a document is read, tools run, and a form fills itself", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  const story =
    "Pablo was a clever boy. One day the weather was sunny, so Pablo went to the cave. He carried a bag of plums. At the end of the day, Pablo was excited. The end.";
  await chat.choose(".composer input[type=file]", `[new File([${JSON.stringify(story)}], "story.txt", { type: "text/plain" })]`);
  await chat.until(`document.querySelector(".attached li")?.innerText.includes("story.txt")`);
  await chat.send("Which place did Pablo visit?");
  expect(await chat.answer()).toMatch(/cave/);
  await chat.press("New conversation");
  await chat.press("Tools");
  await chat.send("Paint the boat blue.");
  expect(await chat.answer()).toMatch(/boat is blue now/);
  expect(await chat.page.evaluate(`document.querySelector(".tool summary").innerText`)).toMatch(/paint\s*\(boat, blue\) → done/);
  expect(await chat.page.evaluate(`document.documentElement.style.getPropertyValue("--accent")`)).toContain("blue");
  await chat.press("Tools");
  await chat.picture("tools");
  await chat.press("New conversation");
  await chat.until(`document.querySelector(".suggestions")`);
  await chat.page.evaluate(`([...document.querySelectorAll(".suggestions button")].at(-1).click(), true)`);
  await chat.press("Fill the form");
  await chat.until(
    `[...document.querySelectorAll("[data-field]")].every((one) => one.value !== "") && document.querySelector(".fill-row .quiet") === null`,
  );
  expect(await chat.page.evaluate(`document.querySelector("[data-field=name]").value`)).toBe("Pablo");
  await chat.picture("form");
  expect(await chat.page.evaluate(`document.querySelector(".storage .warned") === null`)).toBe(true);
  expect(await chat.faults()).toEqual([]);
  expect(chat.problems).toEqual([]);
});

const hostile = `<script>hacked = 1</script><img src=x onerror="hacked = 2"><iframe srcdoc="<script>parent.hacked = 3</script>"></iframe>
<form action="https://example.com"><input name=q></form><svg onload="hacked = 4"><style>*{display:none}</style></svg>

[a link](javascript:hacked=5) ![a picture](https://example.com/spy.png) <a href="data:text/html,<script>hacked=6</script>">data</a>

7. a list that goes on from seven

$$
y^2
$$

| a | b |
|:-:|---|
| 1 | \`<b onmouseover=hacked=7>\` |

\`\`\`js
const x = "</code></pre><script>hacked = 8</script>";
\`\`\`

$$\\href{javascript:hacked=9}{x^2}$$ and $x^2$ for $5 or $6.

مرحبا بالعالم <math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=hacked=10&gt;">`;

function exported(messages: readonly string[], title: string) {
  const nodes = messages.map((text, i) => ({
    message: { id: `m${i}`, role: i % 2 ? "assistant" : "user", parts: [{ type: "text", text }] },
    ...(i > 0 && { parentId: `m${i - 1}` }),
    at: i,
  }));
  return JSON.stringify({ format: "jamba-chat-1", conversations: [{ id: "c1", title, createdAt: 1, updatedAt: 1, nodes, settings: {} }] });
}

async function importAndOpen(chat: ChatPage, json: string): Promise<void> {
  await chat.until(`document.querySelector(".exchange input")`);
  await chat.choose(".exchange input", `[new File([${JSON.stringify(json)}], "a.json")]`);
  await chat.until(`document.querySelector(".conversations .open")`);
  await chat.page.evaluate(`(document.querySelector(".conversations .open").click(), true)`);
}

test("hostile markdown and HTML run nothing, fetch nothing and hide nothing", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  await importAndOpen(chat, exported(["Hello", hostile, "شكرا", "عفوا، هذه قصة عن ثعلب."], "Hostile"));
  await chat.until(`document.querySelector(".markdown math") && document.querySelector(".hljs-keyword")`);
  await chat.picture("hostile");
  const found = await chat.page.evaluate(`(() => {
    const inside = [...document.querySelectorAll(".markdown *")];
    const tags = new Set(inside.map(({ localName }) => localName));
    const bad = ["script", "img", "iframe", "form", "input", "svg", "style", "object", "embed"].filter((tag) => tag !== "svg" && tags.has(tag));
    const handlers = inside.filter((one) => one.getAttributeNames().some((name) => name.startsWith("on")) || /^(javascript|data):/i.test(one.getAttribute("href") ?? ""));
    const kept = [document.querySelector(".markdown ol").start, document.querySelector(".markdown th").align, document.querySelectorAll(".markdown math[display=block]").length];
    return { hacked: globalThis.hacked, kept, bad, handlers: handlers.map((one) => one.outerHTML), tables: document.querySelectorAll(".markdown table").length };
  })()`);
  expect(found).toEqual({ kept: [7, "center", 1], bad: [], handlers: [], tables: 1 });
  expect(chat.site.asked.some((path) => path.includes("spy"))).toBe(false);
  // Text that runs from right to left stands on the right.
  const left = `(({ left, right }, box) => left - box.left > box.right - right)`;
  const range = `(() => { const range = document.createRange(); range.selectNodeContents([...document.querySelectorAll(".markdown p")].at(-1)); return range.getBoundingClientRect(); })()`;
  expect(await chat.page.evaluate(`${left}(${range}, [...document.querySelectorAll(".markdown")].at(-1).getBoundingClientRect())`)).toBe(
    true,
  );
  expect(await chat.faults()).toEqual([]);
  expect(chat.problems).toEqual([]);
});

test("a conversation of 100,000 tokens opens and scrolls to its beginning", async ({ skip }) => {
  await using chat = await chats.open("chromium", skip);
  await chat.ready();
  const story = "Once upon a time there lived a **clever** girl called Mia. She had a silver boat and went to the river. ".repeat(18);
  await importAndOpen(
    chat,
    exported(
      Array.from({ length: 400 }, (_, i) => `${i}. ${story}`),
      "Long",
    ),
  );
  // Its end is shown at first.
  await chat.until(`document.querySelectorAll(".message").length >= 4`);
  await chat.until(
    `(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight < 2)(document.querySelector(".messages"))`,
  );
  await chat.picture("long");
  const { frames, longest, over } = await chat.page.evaluate<{ frames: number; longest: number; over: number }>(`(async () => {
    const box = document.querySelector(".messages");
    const times = [];
    let last = performance.now();
    const end = last + 200_000;
    while (performance.now() < end) {
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      times.push(now - last);
      last = now;
      box.scrollTop -= 1500;
      if (box.scrollTop <= 0 && document.querySelectorAll(".message").length === 400) break;
    }
    return { frames: times.length, longest: Math.max(...times), over: times.filter((ms) => ms > 50).length };
  })()`);
  console.log(`scrolled in ${frames} frames, the longest of ${longest.toFixed()} ms, ${over} over 50 ms (other work was going on)`);
  expect(await chat.page.evaluate(`document.querySelector(".message .said").textContent.startsWith("0. Once")`)).toBe(true);
  expect(chat.problems).toEqual([]);
});
