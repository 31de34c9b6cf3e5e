// The chat page in a real browser: built once from sources, served, and used as a person would.

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import {
  type Browser,
  type BrowserOptions,
  type Engine,
  NoBrowser,
  openBrowser,
  type Page,
} from "../../../tooling/browsers/test/driver.ts";
import { filesOf, type Site, serve } from "../../../tooling/browsers/test/site.ts";

/** What the small model was taught to answer. */
export const ask = "Write a story about Mia, a fox and a silver boat.";

/** Of the small model, as an expression of `File`s: see `choose` and `drop`. */
export const smallModelFiles = `Promise.all(["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"].map(async (name) => new File([await (await fetch("model/" + name)).blob()], name)))`;

/** When an answer has come to more than so many characters: for `holdWorkerAt`. */
export const saidMoreThan = (chars: number) => `(self.saidChars = (self.saidChars ?? 0) + (data.chunk?.delta?.length ?? 0)) > ${chars}`;

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What does not come within this does not come: two minutes on a machine that does much else. */
const mostMs = 120_000;

/** A screenshot of each page that is looked at goes here, if it is set. */
const pictures = process.env.JAMBA_CHAT_PICTURES;

let building: Promise<string> | undefined;

/** @returns the folder of the built page */
export function builtPage(): Promise<string> {
  building ??= (async () => {
    const outDir = await mkdtemp(join(tmpdir(), "jamba-chat-"));
    const configFile = fileURLToPath(new URL("../vite.config.ts", import.meta.url));
    await build({ configFile, logLevel: "error", build: { outDir, emptyOutDir: true, reportCompressedSize: false } });
    return outDir;
  })();
  return building;
}

export interface OpenOptions {
  readonly isolated?: boolean;
  /** Runs in the page before anything of it. Not in WebKitGTK. */
  readonly before?: () => void;
  /** Of the address, such as "?hub=…". */
  readonly query?: string;
  readonly width?: number;
  readonly height?: number;
}

export class Chats {
  readonly #browsers = new Map<string, Promise<Browser>>();
  readonly #sites = new Map<boolean, Promise<Site>>();

  /** Calls `skip`, which throws, where the engine is not here. */
  async open(engine: Engine, skip: (reason: string) => never, options: OpenOptions & BrowserOptions = {}): Promise<ChatPage> {
    const { isolated = true, webgpu = false } = options;
    const key = `${engine}${webgpu}`;
    if (!this.#browsers.has(key)) this.#browsers.set(key, openBrowser(engine, { webgpu }));
    const browser = await this.#browsers.get(key)!.catch((error) => {
      if (error instanceof NoBrowser) skip(error.message);
      throw error;
    });
    const page = await browser.newPage();
    return ChatPage.open(page, await this.site(isolated), options);
  }

  async site(isolated: boolean): Promise<Site> {
    if (!this.#sites.has(isolated)) this.#sites.set(isolated, serve(filesOf(await builtPage()), { isolated }));
    return this.#sites.get(isolated)!;
  }

  async close(): Promise<void> {
    for (const opening of this.#browsers.values()) await opening.then((browser) => browser.close()).catch(() => undefined);
    for (const site of this.#sites.values()) await site.then((open) => open.close());
    if (building) await rm(await building, { recursive: true, force: true });
  }
}

/** Waits in the page, so that nothing is asked of it over and over. */
const until = (expression: string, ms: number) => `new Promise((resolve, reject) => {
  const end = Date.now() + ${ms};
  const look = () => {
    let found;
    try { found = (${expression}); } catch (error) { found = undefined; }
    if (found) resolve(found); else if (Date.now() > end) reject(new Error("not within ${ms} ms")); else setTimeout(look, 25);
  };
  look();
})`;

const text = JSON.stringify;

export class ChatPage {
  /** Of the console, and what nobody caught. */
  readonly problems: string[] = [];

  private constructor(
    readonly page: Page,
    readonly site: Site,
  ) {}

  static async open(page: Page, site: Site, { before, query = "", width = 1280, height = 800 }: OpenOptions = {}): Promise<ChatPage> {
    const chat = new ChatPage(page, site);
    const { puppeteer } = page;
    puppeteer?.on("console", (message) => message.type() === "error" && chat.problems.push(message.text()));
    puppeteer?.on("pageerror", (error) => chat.problems.push(String((error as Error).stack ?? error)));
    await puppeteer?.setViewport({ width, height });
    if (before) await puppeteer?.evaluateOnNewDocument(before);
    await page.goto(site.url + query);
    return chat;
  }

  async until<T = true>(expression: string, ms = mostMs): Promise<T> {
    try {
      return await this.page.evaluate<T>(until(expression, ms));
    } catch (cause) {
      const shown = await this.page.evaluate<string>("document.body.innerText").catch(() => "nothing");
      throw new Error(`expected ${expression}; found a page that says:\n${shown}\n${this.problems.join("\n")}`, { cause });
    }
  }

  /** Another tab of the same browser profile. */
  async tab(): Promise<ChatPage> {
    const puppeteer = await this.page.puppeteer!.browserContext().newPage();
    const page: Page = {
      goto: async (url) => void (await puppeteer.goto(url)),
      evaluate: (expression) => puppeteer.evaluate(`(async () => ${expression})()`) as never,
      screenshot: async () => undefined,
      resize: (width, height) => puppeteer.setViewport({ width, height }),
      puppeteer,
      close: () => puppeteer.close(),
    };
    return ChatPage.open(page, this.site);
  }

  /** As if it was typed and sent. */
  async send(message: string): Promise<void> {
    await this.fill(".composer textarea", message);
    await this.page.evaluate(`document.querySelector(".composer").requestSubmit()`);
  }

  async fill(selector: string, value: string): Promise<void> {
    await this.until(`document.querySelector(${text(selector)})`);
    await this.page.evaluate(`(() => {
      const field = document.querySelector(${text(selector)});
      Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set.call(field, ${text(value)});
      field.dispatchEvent(new Event("input", { bubbles: true }));
      return true;
    })()`);
    // What is drawn anew for it is drawn before the next task.
    await this.page.evaluate("new Promise((resolve) => setTimeout(() => resolve(true)))");
  }

  /** By the name that a screen reader says, the last one of several. */
  async press(label: string): Promise<void> {
    const button = `[...document.querySelectorAll("button")].filter((one) => !one.disabled && (one.getAttribute("aria-label") ?? one.textContent).trim() === ${text(label)}).at(-1)`;
    await this.until(button.concat(" !== undefined"));
    await this.page.evaluate(`(${button}.click(), true)`);
  }

  /** Until so many answers of one conversation are in the private file system, each with what was read. */
  async kept(answers: number): Promise<void> {
    const files = `(async () => {
      const root = await navigator.storage.getDirectory();
      for await (const folder of (await root.getDirectoryHandle("conversations")).values()) {
        const names = await Array.fromAsync(folder.keys());
        const { nodes } = JSON.parse(await (await (await folder.getFileHandle("conversation.json")).getFile()).text());
        const said = nodes.filter(({ message }) => message.role === "assistant").length;
        if (said >= ${answers} && names.filter((name) => name.endsWith(".state")).length >= Math.min(4, ${answers})) return true;
      }
      return false;
    })().catch(() => false)`;
    for (
      const end = Date.now() + mostMs;
      !(await this.page.evaluate<boolean>(files));
      await new Promise((resolve) => setTimeout(resolve, 50))
    )
      if (Date.now() > end) throw new Error(`expected ${answers} answers to be kept, found fewer`);
  }

  /**
   * Presses Stop as soon as an answer has begun, from within the page, in every engine: the model may be faster all the same.
   * @param known ids of the answers before. @returns whether it was stopped
   */
  async stopEarly(known: readonly string[]): Promise<boolean> {
    await this.page.evaluate(`new Promise((resolve) => {
      const look = () => {
        const last = [...document.querySelectorAll(".message.assistant")].at(-1);
        if (!last || ${text(known)}.includes(last.dataset.id)) return;
        const stop = document.querySelector('button[aria-label="Stop"]');
        if (last.querySelector("[data-end]")) resolve(true);
        else if (stop && last.textContent.length > 10) stop.click();
      };
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
      look();
    })`);
    return this.page.evaluate(`[...document.querySelectorAll("[data-end]")].at(-1).dataset.end === "cancelled"`);
  }

  get #owner() {
    return this.page.puppeteer!.workers().find((one) => one.url().includes("worker-"))!;
  }

  /** The worker that owns the model ends as a browser ends one, at once when this is said between it and a tab. @param condition on `data` */
  async endWorkerAt(condition: string): Promise<void> {
    await this.#owner.evaluate(`(() => {
      const heard = new BroadcastChannel("jamba-chat");
      heard.onmessage = ({ data }) => ${condition} && close();
    })()`);
  }

  /**
   * The worker of this tab, which owns the model, stands still as soon as this is said between it and a tab: what is done then is done while it
   * writes, however slow the page is. Chromium's debugger holds it.
   * @param condition on `data`
   */
  async holdWorkerAt(condition: string): Promise<{ readonly held: Promise<void>; release(): Promise<void> }> {
    const { client } = this.#owner;
    await client.send("Debugger.enable");
    const held = new Promise<void>((resolve) => client.once("Debugger.paused", () => resolve()));
    await this.#owner.evaluate(`(() => {
      const heard = new BroadcastChannel("jamba-chat");
      heard.onmessage = ({ data }) => {
        if (!(${condition})) return;
        heard.close();
        debugger;
      };
    })()`);
    return { held, release: () => client.send("Debugger.disable") };
  }

  /** Runs in the worker that owns the model. */
  async inWorker<T>(expression: string): Promise<T> {
    return this.#owner.evaluate(`(async () => ${expression})()`) as Promise<T>;
  }

  /** Hears of everything that is shown of the model from now on, however short. @returns what resolves once it was this */
  async phase(wanted: string): Promise<() => Promise<unknown>> {
    await this.page.evaluate(`(() => {
      globalThis.phases = [];
      const pill = document.querySelector(".pill");
      new MutationObserver(() => phases.push(pill.dataset.phase)).observe(pill, { attributes: true, attributeFilter: ["data-phase"] });
    })()`);
    return () => this.until(`phases.includes(${text(wanted)})`);
  }

  ready(ms?: number): Promise<unknown> {
    return this.until(`document.querySelector(".pill")?.dataset.phase === "ready"`, ms);
  }

  /** Until the answer with this index, from 0, has ended, as its figures say; what it says. @param text its index among all texts, where thoughts are others */
  async answer(index = 0, text = index): Promise<string> {
    const message = `[...document.querySelectorAll(".message.assistant")][${index}]`;
    await this.until(`${message}?.querySelector("[data-end]") && document.querySelector(".messages").ariaBusy !== "true"`);
    return (await this.answers())[text];
  }

  answers(): Promise<string[]> {
    return this.page.evaluate(`[...document.querySelectorAll(".message.assistant .markdown")].map((one) => one.innerText)`);
  }

  /** What axe finds serious or worse. Not in WebKitGTK. */
  async faults(): Promise<string[]> {
    await this.page.puppeteer!.evaluate(axe);
    return this.page.evaluate(`axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
      violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id, nodes }) => id + ": " + nodes.map(({ html }) => html).join(" ")))`);
  }

  /** Tokens of the last answer's prompt that were read, that were kept from before, and that were read a second time. */
  figures(): Promise<{ read: number; kept: number; again: number }> {
    return this.page.evaluate(
      `(({ read, kept, again }) => ({ read: +read, kept: +kept, again: +again }))([...document.querySelectorAll(".figures")].at(-1).dataset)`,
    );
  }

  /** Hands files to an input, as a person who chose them. @param expression of an array of `File`s */
  async choose(input: string, expression: string): Promise<void> {
    await this.page.evaluate(`(async () => {
      const transfer = new DataTransfer();
      for (const file of await (${expression})) transfer.items.add(file);
      const field = document.querySelector(${text(input)});
      field.files = transfer.files;
      field.dispatchEvent(new Event("change", { bubbles: true }));
    })()`);
  }

  /** Drops files on the page. @param expression of an array of `File`s */
  async drop(expression: string): Promise<void> {
    await this.page.evaluate(`(async () => {
      const dataTransfer = new DataTransfer();
      for (const file of await (${expression})) dataTransfer.items.add(file);
      for (const type of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    })()`);
  }

  async reload(): Promise<void> {
    await this.page.goto(this.site.url);
  }

  async picture(name: string): Promise<void> {
    if (pictures) await this.page.screenshot(join(pictures, `${name}.png`));
  }

  close(): Promise<void> {
    return this.page.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
