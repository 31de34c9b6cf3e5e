import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JambaError, type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { posted } from "../test/requests.ts";
import { createApp, Service } from "./index.ts";
import { isSlotName, Slots } from "./slots.ts";

test("a slot lets its conversation go also where the file of it can't be removed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "slots-"));
  // Files are removed, and a folder is not.
  const session = {
    tokens: [1, 2],
    save: async (path: string) => mkdirSync(path),
    stream: () => undefined,
    dispose: async () => undefined,
  };
  const model = { session: () => session } as unknown as JambaModel;
  const slots = new Slots(folder, 1);
  slots.at(0).stream(model, [], {}, {});
  await slots.sleep(folder);
  expect(slots.at(0).tokens).toBe(2);
  await slots.at(0).erase();
  expect(slots.at(0).tokens).toBe(0);
  rmSync(folder, { recursive: true });
});

describe("with keys", () => {
  let model: JambaModel;
  let folder: string;
  beforeAll(async () => {
    model = await loadModel("tiny");
    folder = mkdtempSync(join(tmpdir(), "slots-"));
  });
  afterAll(async () => {
    await model.dispose();
    rmSync(folder, { recursive: true });
  });

  const keys = ["first-key-0123456789", "second-key-0123456789"];
  const messages = [{ role: "user", content: "Tell me of the slow green boat." }];

  async function served(
    run: (as: (key: string | undefined, path: string, body?: unknown) => Promise<Response>) => Promise<void>,
    more = {},
  ) {
    const service = new Service(model, "tiny", { temperature: 0, slotsDir: folder, slots: 2, ...more });
    const app = createApp(service);
    await run(async (key, path, body) =>
      app.request(
        path,
        body === undefined ? { headers: { authorization: `Bearer ${key}` } } : posted(body, { authorization: `Bearer ${key}` }),
      ),
    );
    await service.slots!.dispose();
  }

  test("no key sees, saves, erases, restores or takes the slot of another", () =>
    served(
      async (as) => {
        const [mine, theirs] = keys;
        expect((await as(mine, "/v1/chat/completions", { messages, id_slot: 1, max_tokens: 4 })).status).toBe(200);
        expect((await as(mine, "/slots/1?action=save", { filename: "boat" })).status).toBe(200);
        const held = async (key: string) =>
          ((await (await as(key, "/slots")).json()) as { n_tokens: number }[]).map(({ n_tokens }) => n_tokens);
        const before = await held(mine);
        expect(before[1]).toBeGreaterThan(0);
        expect(await held(theirs)).toEqual([0, 0]);
        expect((await as(theirs, "/slots/1?action=save", { filename: "stolen" })).status).toBe(404);
        expect((await as(theirs, "/slots/1?action=restore", { filename: "boat" })).status).toBe(404);
        expect(await (await as(theirs, "/slots/1?action=erase", {})).json()).toEqual({ id_slot: 1, n_erased: 0 });
        expect((await as(theirs, "/v1/chat/completions", { messages, id_slot: 1, max_tokens: 1 })).status).toBe(200);
        expect((await as(theirs, "/slots/1?action=save", { filename: "boat" })).status).toBe(200);
        expect(await held(mine)).toEqual(before);
        expect((await as(mine, "/slots/0?action=restore", { filename: "boat" })).status).toBe(200);
        expect((await held(mine))[0]).toBe(before[1]);
        // Nothing on the disk says whose it is, and nobody else may read it.
        const folders = readdirSync(folder);
        expect(folders.length).toBe(2);
        for (const name of folders) {
          expect(name).toMatch(/^\.key-[0-9a-f]{32}$/);
          expect(statSync(join(folder, name)).mode & 0o777).toBe(0o700);
          expect(statSync(join(folder, name, "boat")).mode & 0o777).toBe(0o600);
        }
      },
      { apiKeys: keys },
    ));

  test("so many conversations are in memory in all as there are slots; the others wait in files and lose nothing", async () => {
    const slots = new Slots(folder, 2);
    const tenants = ["a", "b", "c"].map((name) => ({ name }));
    for (const tenant of tenants) await slots.at(0, tenant).stream(model, messages as never, {}, { maxTokens: 2, tenant }).result;
    await vi.waitFor(() => expect(tenants.filter((tenant) => slots.at(0, tenant).isAwake).length).toBe(2));
    for (const tenant of tenants) {
      expect(slots.at(0, tenant).tokens).toBeGreaterThan(0);
      expect(await slots.save(0, "kept", tenant)).toBeGreaterThan(1000);
      await slots.restore(1, model, "kept", tenant);
      expect(slots.at(1, tenant).tokens).toBe(slots.at(0, tenant).tokens);
    }
    await slots.dispose();
    model.clearCache();
    expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
  });
});

describe("the files of slots", () => {
  const names = [
    "con",
    "Nul.txt",
    "COM1",
    "a.partial-host-1-01234567",
    "A.PARTIAL-x",
    "end.",
    "-dash",
    ".hidden",
    "x".repeat(129),
    "a b",
    "ä",
  ];
  test.each(names)("are not called %s", (name) => expect(isSlotName(name)).toBe(false));
  test.each(["a", "conversation", "slot-0", "boat.state", "a_b", "x".repeat(128)])("may be called %s", (name) =>
    expect(isSlotName(name)).toBe(true),
  );

  test("are no links: none is read or written through one, and errors show no paths", async () => {
    const folder = mkdtempSync(join(tmpdir(), "slots-"));
    const outside = join(mkdtempSync(join(tmpdir(), "outside-")), "secret");
    writeFileSync(outside, "secret");
    symlinkSync(outside, join(folder, "link"));
    writeFileSync(join(folder, "other"), "secret text");
    const session = {
      tokens: [1],
      save: async (path: string) => writeFileSync(path, "x"),
      stream: () => undefined,
      dispose: async () => undefined,
    };
    const openSession = async (path: string) => {
      throw Object.assign(new JambaError("LOAD", `${path}: expected a saved state, found secret`));
    };
    const model = { session: () => session, openSession } as unknown as JambaModel;
    const slots = new Slots(folder, 1);
    slots.at(0).stream(model, [], {}, {});
    await expect(slots.save(0, "link")).rejects.toMatchObject({ status: 400 });
    await expect(slots.restore(0, model, "link")).rejects.toMatchObject({ status: 400 });
    expect(readFileSync(outside, "utf8")).toBe("secret");
    const refusal = await slots.restore(0, model, "other").catch((error) => error);
    expect(refusal.status).toBe(400);
    expect(refusal.message).not.toMatch(/secret|\//);
    for (const [thrown, status] of [
      [Object.assign(new JambaError("DISK_FULL", `${folder}: full`)), 507],
      [Object.assign(new Error(folder), { code: "ENOSPC" }), 507],
      [new JambaError("LOAD", `${folder}: EACCES`), 500],
    ] as const) {
      session.save = () => Promise.reject(thrown);
      const error = await slots.save(0, "full").catch((error) => error);
      expect(error.status).toBe(status);
      expect(error.message).not.toContain(folder);
    }
    rmSync(folder, { recursive: true });
  });
});

test("slots that a server saves at its end are there again at the next start, each for its key; without the option none are", async () => {
  const folder = mkdtempSync(join(tmpdir(), "slots-"));
  const model = await loadModel("tiny");
  const [apiKeys, slots] = [["one", "two"], 2];
  const started = (more = {}) => {
    const service = new Service(model, "a/b", { slotsDir: folder, saveOnExit: true, slots, apiKeys, temperature: 0, ...more });
    const app = createApp(service);
    const tokens = async (key: string) => {
      const response = await app.request("/slots", { headers: { authorization: `Bearer ${key}` } });
      return ((await response.json()) as { n_tokens: number }[]).map(({ n_tokens }) => n_tokens);
    };
    return { service, app, tokens };
  };
  try {
    const first = started();
    const body = { messages: [{ role: "user", content: "Tell me of the slow green boat." }], max_tokens: 4, ignore_eos: true, id_slot: 1 };
    const asked = await first.app.request("/v1/chat/completions", posted(body, { authorization: "Bearer one" }));
    const { message } = ((await asked.json()) as { choices: { message: { role: string; content: string } }[] }).choices[0];
    const before = await first.tokens("one");
    expect(before).toEqual([0, expect.toSatisfy((count: number) => count > 10)]);
    await first.service.dispose();
    model.clearCache();
    const second = started();
    await expect.poll(() => second.tokens("one")).toEqual(before);
    expect(await second.tokens("two")).toEqual([0, 0]);
    const next = { ...body, messages: [...body.messages, message, { role: "user", content: "Go on." }] };
    const again = await second.app.request("/v1/chat/completions", posted(next, { authorization: "Bearer one" }));
    expect(((await again.json()) as { timings: { cache_n: number } }).timings.cache_n).toBeGreaterThan(10);
    await second.app.request("/slots/1?action=erase", posted({}, { authorization: "Bearer one" }));
    await second.service.dispose();
    const third = started();
    await third.service.dispose(); // waits until what there is was restored
    expect(readdirSync(folder, { recursive: true }).filter((name) => String(name).includes("on-exit"))).toEqual([]);
  } finally {
    await model.dispose();
    rmSync(folder, { recursive: true });
  }
  expect(() => new Service(undefined, "tiny", { saveOnExit: true })).toThrow(/saveOnExit: expected slotsDir/);
});
