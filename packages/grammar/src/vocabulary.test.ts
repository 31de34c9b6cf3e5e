import { afterAll, describe, expect, test } from "vitest";
import type { Matcher } from "./matcher.ts";
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

const open = () => new Vocabulary({ size, textOf, isControl: (id) => id >= control, stopIds: [stop], encode });
const vocabulary = open();
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
    const matcher = (await vocabulary.compile('start: "tr" "ue"? | "test"')).start();
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
    const matcher = (await vocabulary.compile('start: "{\\"name\\": " /(true|false)/ "}"')).start();
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
    const matcher = (await vocabulary.compile("start: /[ab]{3}/")).start();
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
    expect(await accepts((await vocabulary.compile("start: /a+/")).start(), "aaa")).toBe(true);
  });

  test("holds no control token in its texts", async () => {
    const matcher = (await vocabulary.compile("start: /(.|\\n)*/")).start();
    expect(listed(await matcher.allowed())).not.toContain(control);
    matcher.dispose();
    const named = (await vocabulary.compile(`start: <[${control}]>`)).start();
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
    expect(await accepts((await vocabulary.compile("start: /[a-z]{1,900}y/")).start(), "xyy")).toBe(true);
  });

  test("forgets what was used longest ago when there is no room", async () => {
    const small = new Vocabulary({ size, textOf, isControl: (id) => id >= control, stopIds: [stop], encode, cacheBytes: 1 });
    const first = await small.compile("start: /x+/");
    const matcher = first.start();
    await small.compile("start: /y+/");
    expect(await small.compile("start: /x+/")).not.toBe(first);
    expect(await accepts(matcher, "xx")).toBe(true);
    await small.dispose();
  });
});
