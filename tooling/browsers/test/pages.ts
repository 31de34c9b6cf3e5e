// Opens a page of this folder in an engine, and calls what it has by name.

import { bundlePages } from "./bundle.ts";
import { type Browser, type BrowserOptions, type Engine, NoBrowser, openBrowser, type Page } from "./driver.ts";
import type { Trial } from "./page/trial.ts";
import { type Files, type Site, serve } from "./site.ts";

type Call<T> = T extends (...args: infer Args) => infer Result ? { args: Args; result: Awaited<Result> } : never;

export interface OpenPage extends Page {
  readonly site: Site;
  /** What page/trial.ts has by that name. */
  call<Name extends keyof Trial>(name: Name, ...args: Call<Trial[Name]>["args"]): Promise<Call<Trial[Name]>["result"]>;
}

let bundled: Promise<Files> | undefined;

export class Browsers {
  readonly #open = new Map<Engine, Promise<Browser>>();

  constructor(readonly options: BrowserOptions = {}) {}

  /** Starts it when it is first asked for. @throws NoBrowser */
  browser(engine: Engine): Promise<Browser> {
    if (!this.#open.has(engine)) this.#open.set(engine, openBrowser(engine, this.options));
    return this.#open.get(engine)!;
  }

  /** Calls `skip`, which throws, where the engine is not here. */
  async page(
    engine: Engine,
    { isolated, name = "trial", query = "" }: { isolated: boolean; name?: string; query?: string },
    skip: (reason: string) => never,
  ): Promise<OpenPage> {
    const browser = await this.browser(engine).catch((error) => {
      if (error instanceof NoBrowser) skip(error.message);
      throw error;
    });
    bundled ??= bundlePages(["trial", "cold", "conformance"]);
    const site = await serve(await bundled, { isolated });
    const page = await browser.newPage();
    await page.goto(`${site.url}${name}.html${query}`);
    return {
      ...page,
      site,
      call: (called, ...args) => page.evaluate(`trial.${called}(...${JSON.stringify(args)})`),
      close: async () => {
        await page.close();
        await site.close();
      },
    };
  }

  async close(): Promise<void> {
    for (const opening of this.#open.values()) await opening.then((browser) => browser.close()).catch(() => undefined);
  }
}

/** Chunks of the CPU backend's modules among what a page asked for, by level. */
export function modulesAmong(asked: readonly string[]): string[] {
  return asked.flatMap((path) => /(relaxed-dot|relaxed|simd128)\.wasm/.exec(path)?.[1] ?? []);
}

/** The modules that a device's features tell of: those that were tried and found wrong here, then the one that runs. */
export function modulesTold(features: readonly string[]): string[] {
  const tried = features.filter((one) => /^not relaxed(-dot)?: this engine.*wrongly/.test(one));
  return [...tried.map((one) => one.slice("not ".length, one.indexOf(":"))), features[0].slice(0, features[0].indexOf(":"))];
}
