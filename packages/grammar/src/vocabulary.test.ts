import { afterAll, describe, expect, test } from "vitest";
import type { Matcher } from "./matcher.ts";
import { load } from "./module.ts";
import { Vocabulary } from "./vocabulary.ts";

/** All bytes, some words, a control token and the end. */
const words = ["true", "false", '": ', '{"', "name", "nam", "est", "test", "  "];
const [control, stop] = [256 + words.length, 257 + words.length];
const size = stop + 1;
const textOf = (id: number) => (id < 256 ? Uint8Array.of(id) : (words[id - 256] ?? (id === control ? "<control>" : "<end>")));

/** The longest word at each place, else its bytes. */
function encode(text: string): number[] {
  const ids: number[] = [];
  for (let at = 0; at < text.length; ) {
    const [word] = words.filter((one) => text.startsWith(one, at)).sort((a, b) => b.length - a.length);
    if (word) ids.push(256 + words.indexOf(word));
    else ids.push(...new TextEncoder().encode(String.fromCodePoint(text.codePointAt(at)!)));
    at += word?.length ?? String.fromCodePoint(text.codePointAt(at)!).length;
  }
  return ids;
}

const options = { size, textOf, isControl: (id: number) => id >= control, stopIds: [stop], encode };
const vocabulary = new Vocabulary(options);
afterAll(() => vocabulary.dispose());

const listed = (bits: Int32Array) => Array.from({ length: size }, (_, id) => id).filter((id) => (bits[id >> 5] >>> (id & 31)) & 1);
async function accepts(matcher: Matcher, text: string): Promise<boolean> {
  try {
    for (const id of [...encode(text), stop]) await matcher.accept(id);
    return true;
  } catch {
    return false;
  } finally {
    matcher.dispose();
  }
}

describe("a grammar", () => {
  test("says what may come, moves on, and ends", async () => {
    const matcher = await (await vocabulary.compile('start: "tr" "ue"? | "test"')).start();
    expect(listed(await matcher.allowed())).toEqual([..."t"].map((char) => char.charCodeAt(0)).concat([256, 263]));
    await matcher.accept(116);
    await matcher.accept(114);
    expect(listed(await matcher.allowed())).toEqual([117, stop]);
    await matcher.accept(stop);
    expect(matcher.ended).toBe(true);
    await expect(matcher.accept(117)).rejects.toMatchObject({ code: "OPTION" });
    matcher.dispose();
  });

  test("forces what can only be one thing, as the tokenizer writes it", async () => {
    const matcher = await (await vocabulary.compile('start: "{\\"name\\": " /(true|false)/ "}"')).start();
    expect(await matcher.forced()).toEqual([259, 260, 258]);
    expect(listed(await matcher.allowed())).toEqual([259]);
    for (const id of [259, 260, 258]) await matcher.accept(id);
    expect(await matcher.forced()).toEqual([]);
    await matcher.accept(256);
    expect(await matcher.forced()).toEqual([125]);
    await matcher.rollback(1);
    expect(listed(await matcher.allowed())).toEqual([102, 116, 256, 257]);
    matcher.dispose();
  });

  test("takes tokens back, the one that ends it too", async () => {
    const matcher = await (await vocabulary.compile("start: /[ab]{3}/")).start();
    const before: number[][] = [];
    for (const id of [97, 98, 97, stop]) {
      before.push(listed(await matcher.allowed()));
      await matcher.accept(id);
    }
    for (const expected of before.reverse()) {
      await matcher.rollback(1);
      expect(listed(await matcher.allowed())).toEqual(expected);
    }
    await expect(matcher.rollback(1)).rejects.toMatchObject({ code: "OPTION" });
    matcher.dispose();
  });

  test("that is refused has a reason, and the next one works", async () => {
    await expect(vocabulary.compile("start: foo")).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/foo/) });
    expect(await accepts(await (await vocabulary.compile("start: /a+/")).start(), "aaa")).toBe(true);
  });

  test("holds no control token in its texts", async () => {
    const matcher = await (await vocabulary.compile("start: /(.|\\n)*/")).start();
    expect(listed(await matcher.allowed())).not.toContain(control);
    matcher.dispose();
    const named = await (await vocabulary.compile(`start: <[${control}]>`)).start();
    expect(listed(await named.allowed())).toEqual([control]);
    named.dispose();
  });
});

describe("a vocabulary", () => {
  test("compiles the same text once", async () => {
    const [a, b] = await Promise.all([vocabulary.compile("start: /x+/"), vocabulary.compile("start: /x+/")]);
    expect(a).toBe(b);
  });

  test("lets go of who cancels, and has the grammar for who asks next", async () => {
    const controller = new AbortController();
    const asked = vocabulary.compile("start: /[a-z]{1,900}y/", { signal: controller.signal });
    controller.abort(new Error("gone"));
    await expect(asked).rejects.toThrow("gone");
    expect(await accepts(await (await vocabulary.compile("start: /[a-z]{1,900}y/")).start(), "xyy")).toBe(true);
  });

  test("lets go of who cancels before the vocabulary is read", async () => {
    const unread = new Vocabulary(options);
    const ends: string[] = [];
    const read = unread.memoryBytes().then(() => ends.push("read"));
    const controller = new AbortController();
    const asked = unread.compile("start: /x+/", { signal: controller.signal }).catch((error) => ends.push(error.message));
    controller.abort(new Error("gone"));
    await Promise.all([read, asked]);
    expect(ends).toEqual(["gone", "read"]);
    await unread.dispose();
  });

  test("forgets what was used longest ago when there is no room", async () => {
    const small = new Vocabulary({ ...options, cacheBytes: 1 });
    const first = await small.compile("start: /x+/");
    const matcher = await first.start();
    await small.compile("start: /y+/");
    expect(await small.compile("start: /x+/")).not.toBe(first);
    expect(await accepts(matcher, "xx")).toBe(true);
    expect(await accepts(await first.start(), "x")).toBe(true);
    await small.dispose();
  });
});

/** Grammars that ask for too much, each of another thing. */
const hostile: Record<string, string> = {
  "groups too deep": `start: ${"(".repeat(20_000)}"a"${")".repeat(20_000)}`,
  "a pattern too deep": `start: /${"(".repeat(5000)}a${")".repeat(5000)}/`,
  "more choices than a row holds": `start: ${Array.from({ length: 5000 }, (_, i) => `x${i}`).join(" | ")}\n${Array.from({ length: 5000 }, (_, i) => `x${i}: "a"`).join("\n")}`,
  "a chain of rules that overflows the stack": `start: r0\n${Array.from({ length: 20_000 }, (_, i) => `r${i}: "a" r${i + 1}`).join("\n")}\nr20000: "b"`,
  "more memory than a call may have": `start: A\nA: ${Array.from({ length: 30 }, (_, i) => `/(.|\\n)*x${i}(.|\\n)*/`).join(" & ")}`,
  "more work than a call may have": `start: %json ${JSON.stringify({ type: "object", properties: Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`p${i}`, { type: "string" }])) })}`,
  "no end": "start: start",
};

test.each(Object.keys(hostile))("%s is an error with its reason, and no harm to others", async (name) => {
  const under = await (await vocabulary.compile("start: /[a-z]+/")).start();
  await under.accept(97);
  const follow = async () => {
    const matcher = await (await vocabulary.compile(hostile[name])).start();
    try {
      for (;;) await matcher.accept(listed(await matcher.allowed())[0]);
    } finally {
      matcher.dispose();
    }
  };
  await expect(follow()).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/found one that .*: ./) });
  await under.accept(98);
  expect(await accepts(under, "cd")).toBe(true);
  expect(await accepts(await (await vocabulary.compile("start: /[0-9]+/")).start(), "12")).toBe(true);
});

test("memory that broken calls lost is given up in the end, and answers under way go on", async () => {
  const small = new Vocabulary({ ...options, cacheBytes: 2 ** 20 });
  const under = await (await small.compile("start: /[a-z]+/")).start();
  await under.accept(97);
  const fresh = await small.memoryBytes();
  const lots = 48 * 2 ** 20;
  for (let i = 0; i < 40 && (await small.memoryBytes()) < fresh + lots; i++)
    await small.compile(`start: A "${i}"\n${hostile["more memory than a call may have"].slice(9)}`).catch(() => undefined);
  expect(await small.memoryBytes()).toBeGreaterThan(fresh + lots);
  await small.compile("start: /y/");
  expect(await small.memoryBytes()).toBeLessThan(fresh + lots / 2);
  expect(await accepts(under, "b")).toBe(true);
  await small.dispose();
});

test("a mask that takes too much work here is made on a thread, and one that takes too much there ends its answer alone", async () => {
  const grammar = "start: /[a-z]{1,40}(b[a-z]{10}c|d[a-z]{12}e)+/";
  const masksWith = async (quick: number, slow = 1_000_000) => {
    const place = new Vocabulary(options, { fuel: { quick, slow } });
    const matcher = await (await place.compile(grammar)).start();
    const masks: number[][] = [];
    for (const id of [...encode("abcabdefg")]) {
      masks.push(listed(await matcher.allowed()));
      await matcher.accept(id);
    }
    await matcher.rollback(3);
    masks.push(listed(await matcher.allowed()));
    await place.dispose();
    return masks;
  };
  const expected = await masksWith(1_000_000);
  expect(await masksWith(40)).toEqual(expected);
  await expect(masksWith(40, 40)).rejects.toMatchObject({ code: "OPTION" });
});

describe("without threads", () => {
  test("the same calls are made here", async () => {
    const place = new Vocabulary(options, { module: load(false) });
    const [alone, beside] = await Promise.all([place, vocabulary].map((one) => one.compile('start: "{\\"name\\": " /(true|false)/ "}"')));
    const matchers = [await alone.start(), await beside.start()];
    for (const id of [259, 260, 258, 256, 125]) {
      const [a, b] = await Promise.all(matchers.map((one) => one.allowed()));
      expect(a).toEqual(b);
      for (const one of matchers) await one.accept(id);
    }
    for (const one of matchers) one.dispose();
    await place.dispose();
  });

  test.each(["a chain of rules that overflows the stack", "more work than a call may have"])(
    "%s takes nothing else along",
    async (name) => {
      const place = new Vocabulary(options, { module: load(false) });
      await expect(place.compile(hostile[name])).rejects.toMatchObject({ code: "OPTION" });
      expect(await accepts(await (await place.compile("start: /[0-9]+/")).start(), "12")).toBe(true);
      await place.dispose();
    },
  );
});

test("a disposed vocabulary says so", async () => {
  const place = new Vocabulary(options);
  const matcher = await (await place.compile("start: /x+/")).start();
  await place.dispose();
  await expect(place.compile("start: /y/")).rejects.toMatchObject({ code: "DISPOSED" });
  await expect(matcher.allowed()).rejects.toMatchObject({ code: "DISPOSED" });
  matcher.dispose();
});

test("one that is disposed while it reads or compiles lets nobody wait", async () => {
  const reading = new Vocabulary(options);
  const asked = expect(reading.compile("start: /x+/")).rejects.toMatchObject({ code: "DISPOSED" });
  await reading.dispose();
  await asked;
  const place = new Vocabulary(options);
  await place.compile("start: /x+/");
  const long = expect(place.compile(hostile["more work than a call may have"])).rejects.toMatchObject({ code: "DISPOSED" });
  await new Promise((resolve) => setTimeout(resolve, 50));
  await place.dispose();
  await long;
});

test("no thread is left behind, whenever a vocabulary is disposed", async () => {
  const alive = () => process.getActiveResourcesInfo().filter((kind) => kind === "MessagePort" || kind === "Worker").length;
  const others = new Vocabulary(options);
  await others.compile("start: /x/");
  const before = alive();
  for (let ms = 0; ms < 60; ms += 6) {
    const place = new Vocabulary(options);
    await new Promise((resolve) => setTimeout(resolve, ms));
    await place.dispose();
  }
  await expect.poll(alive, { timeout: 20_000 }).toBeLessThanOrEqual(before);
  await others.dispose();
});
