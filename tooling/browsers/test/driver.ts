// Three engines behind one interface. Chromium and Firefox are driven by puppeteer-core, which brings no browser; WebKitGTK by its own driver.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import type { Page as PuppeteerPage } from "puppeteer-core";

export const engines = ["chromium", "firefox", "webkit"] as const;
export type Engine = (typeof engines)[number];

export interface Page {
  /** Resolves when the document is there. */
  goto(url: string): Promise<void>;
  /** @param expression of a promise or a value that JSON can carry */
  evaluate<T>(expression: string): Promise<T>;
  /** A picture as PNG. */
  screenshot(file: string): Promise<void>;
  /** Of the page; WebKitGTK counts its window's edges in. */
  resize(width: number, height: number): Promise<void>;
  /** What only puppeteer's browsers do: sizes, media, networks, other threads. */
  readonly puppeteer?: PuppeteerPage;
  close(): Promise<void>;
}

export interface Browser {
  readonly engine: Engine;
  readonly version: string;
  /** With nothing that an earlier one left in a cache. WebKitGTK has one page, which is the same each time. */
  newPage(): Promise<Page>;
  close(): Promise<void>;
}

/** No such browser, or it does not start here: what a test prints when it skips. */
export class NoBrowser extends Error {}

/** Names under which the programs are installed; `JAMBA_CHROMIUM` and `JAMBA_FIREFOX` name others. */
const programs: Readonly<Record<Engine, readonly string[]>> = {
  chromium: [process.env.JAMBA_CHROMIUM ?? "", "chromium", "chromium-browser", "google-chrome"],
  firefox: [process.env.JAMBA_FIREFOX ?? "", "firefox-esr", "firefox"],
  webkit: ["WebKitWebDriver"],
};

/** SwiftShader compiles kernels in tenths of seconds with the second one: see tooling/software-gpu. */
const webgpuFlags = ["--enable-unsafe-webgpu", "--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension"];

const startMs = 30_000;
/** Of one `evaluate`: a slow ring's conformance suite. */
const mostMs = 900_000;

export interface BrowserOptions {
  /** Chromium gives pages WebGPU, on SwiftShader if need be; without this it has `navigator.gpu` and no adapter where there is no GPU. */
  readonly webgpu?: boolean;
}

/** @throws NoBrowser with what to install */
export async function openBrowser(engine: Engine, { webgpu = false }: BrowserOptions = {}): Promise<Browser> {
  const program = programs[engine].flatMap(inPath)[0];
  if (!program)
    throw new NoBrowser(`${engine}: expected one of ${programs[engine].filter(Boolean).join(", ")}, found none; see CONTRIBUTING.md`);
  try {
    return engine === "webkit" ? await openWebKit(program) : await openPuppeteer(engine, program, webgpu ? webgpuFlags : []);
  } catch (cause) {
    throw new NoBrowser(`${engine}: ${program} does not start here: ${(cause as Error).message.split("\n")[0]}`, { cause });
  }
}

function inPath(name: string): string[] {
  if (name.includes("/")) return existsSync(name) ? [name] : [];
  const folders = (process.env.PATH ?? "").split(delimiter);
  return name ? folders.map((folder) => join(folder, name)).filter((file) => existsSync(file)) : [];
}

async function openPuppeteer(engine: "chromium" | "firefox", executablePath: string, flags: readonly string[]): Promise<Browser> {
  const { default: puppeteer } = await import("puppeteer-core");
  const browser = await puppeteer.launch({
    browser: engine === "firefox" ? "firefox" : "chrome",
    executablePath,
    headless: true,
    timeout: startMs,
    protocolTimeout: mostMs,
    // Chromium's sandbox refuses root, as containers have it; the pages are our own.
    args: engine === "chromium" ? ["--disable-dev-shm-usage", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []), ...flags] : [],
  });
  return {
    engine,
    version: await browser.version(),
    newPage: async () => {
      const context = await browser.createBrowserContext();
      const page = await context.newPage();
      return {
        goto: async (url) => void (await page.goto(url)),
        evaluate: async (expression) => resultOf(engine, (await page.evaluate(asJson(expression))) as string),
        screenshot: async (path) => void (await page.screenshot({ path: path as `${string}.png` })),
        resize: (width, height) => page.setViewport({ width, height }),
        puppeteer: page,
        close: () => context.close(),
      };
    },
    close: () => browser.close(),
  };
}

/** Errors as text: each driver loses another part of them. */
const asJson = (expression: string) =>
  `(async () => { try { return JSON.stringify({ value: await (${expression}) }); } catch (e) { return JSON.stringify({ error: String(e?.message ?? e) + "\\n" + e?.stack }); } })()`;

function resultOf<T>(engine: Engine, json: string): T {
  const { value, error } = JSON.parse(json);
  if (error !== undefined) throw new Error(`in ${engine}: ${error}`);
  return value;
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The W3C's WebDriver protocol, as much of it as is needed. It wants a display: a virtual one where there is none. */
async function openWebKit(program: string): Promise<Browser> {
  const engine = "webkit";
  const binary = miniBrowser();
  const port = await freePort();
  const own = [program, `--port=${port}`, "--host=127.0.0.1"];
  const [command, ...args] = process.env.DISPLAY ? own : ["xvfb-run", "-a", ...own];
  if (!process.env.DISPLAY && inPath("xvfb-run").length === 0) throw new Error("expected a display or xvfb-run, found neither");
  // A group of its own: xvfb-run does not end what it runs.
  const driver = spawn(command, args, { stdio: "ignore", detached: true });
  process.once("exit", () => end(driver)); // of a test that was broken off
  const call = async (method: string, path: string, body?: object) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(mostMs),
    });
    const { value } = (await response.json()) as { value: { error?: string; message?: string } };
    if (!response.ok) throw new Error(`${value.error}: ${value.message}`);
    return value as unknown;
  };
  try {
    await answers(driver, () => call("GET", "/status"));
    const capabilities = { alwaysMatch: { "webkitgtk:browserOptions": { binary, args: ["--automation"] } } };
    const { sessionId, capabilities: found } = (await call("POST", "/session", { capabilities })) as {
      sessionId: string;
      capabilities: { browserVersion: string };
    };
    const session = `/session/${sessionId}`;
    await call("POST", `${session}/timeouts`, { script: mostMs, pageLoad: startMs });
    const evaluate = async <T>(expression: string): Promise<T> => {
      const script = `const done = arguments[arguments.length - 1]; ${asJson(expression)}.then(done)`;
      return resultOf(engine, (await call("POST", `${session}/execute/async`, { script, args: [] })) as string);
    };
    return {
      engine,
      version: `WebKitGTK ${found.browserVersion}`,
      newPage: async () => ({
        goto: async (url) => {
          await call("POST", `${session}/url`, { url });
          // The first page of a session is said to be there before it is.
          const isThere = `location.href === ${JSON.stringify(url)} && document.readyState === "complete"`;
          for (const end = Date.now() + startMs; !(await evaluate<boolean>(isThere)); await wait(20))
            if (Date.now() > end) throw new Error(`webkit: expected ${url} to load, found that it does not`);
        },
        evaluate,
        resize: async (width, height) => void (await call("POST", `${session}/window/rect`, { width, height })),
        screenshot: async (file) => writeFile(file, (await call("GET", `${session}/screenshot`)) as string, "base64"),
        close: async () => void (await call("POST", `${session}/url`, { url: "about:blank" })),
      }),
      close: async () => {
        await call("DELETE", session).catch(() => undefined);
        end(driver);
      },
    };
  } catch (error) {
    end(driver);
    throw error;
  }
}

function miniBrowser(): string {
  const libraries = existsSync("/usr/lib") ? readdirSync("/usr/lib").map((name) => `/usr/lib/${name}/webkit2gtk-4.1/MiniBrowser`) : [];
  const found = ["/usr/libexec/webkit2gtk-4.1/MiniBrowser", ...libraries].find((file) => existsSync(file));
  if (!found) throw new Error("expected MiniBrowser of webkit2gtk-4.1, found none");
  return found;
}

async function answers(driver: ChildProcess, ask: () => Promise<unknown>): Promise<void> {
  for (const end = Date.now() + startMs; ; ) {
    try {
      await ask();
      return;
    } catch (cause) {
      if (driver.exitCode !== null) throw new Error(`the driver ended with ${driver.exitCode}`);
      if (Date.now() > end) throw new Error("the driver does not answer", { cause });
      await wait(100);
    }
  }
}

function end({ pid }: ChildProcess): void {
  try {
    process.kill(-pid!);
  } catch {} // it ended already
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
