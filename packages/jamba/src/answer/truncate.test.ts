import type { Message } from "@jamba/tokenizer";
import fc from "fast-check";
import { expect, test } from "vitest";
import { atOnce } from "./reading.ts";
import { readFitting } from "./truncate.ts";

/** s, u, a: system, user, assistant; c: an assistant that calls; t: its result. A token each. */
function conversation(letters: string): Message[] {
  let calls = 0;
  return [...letters].map((letter): Message => {
    if (letter === "c") return { role: "assistant", content: "", toolCalls: [{ id: `${++calls}`, name: "look", arguments: {} }] };
    if (letter === "t") return { role: "tool", content: "found", toolCallId: `${calls}` };
    return { role: ({ s: "system", u: "user", a: "assistant" } as const)[letter as "s"], content: letter };
  });
}

type Options = Parameters<typeof readFitting>[1];

function* read(kept: readonly Message[]) {
  return { ids: kept.map((_, i) => i), kept };
}

function fitting(messages: readonly Message[], options: Options, contextLength: number) {
  return atOnce(readFitting(messages, options, contextLength, read));
}

function fit(messages: readonly Message[], contextLength: number, maxTokens = 0) {
  let reads = 0;
  const counted = (kept: readonly Message[]) => {
    reads++;
    return read(kept);
  };
  return { ...atOnce(readFitting(messages, { truncation: "auto", maxTokens }, contextLength, counted)), reads };
}

test.each<[claim: string, letters: string, contextLength: number, dropped: number[]]>([
  ["nothing is left out where all fits", "suaua", 5, []],
  ["the oldest turn goes, whole", "suaua", 4, [1, 2]],
  ["turn after turn goes, oldest first", "suauauau", 4, [1, 2, 3, 4]],
  ["of a single turn nothing goes", "sua", 1, []],
  ["a greeting before the first turn is the oldest", "sauaua", 5, [1]],
  ["messages of the user in a row are one turn", "uuauua", 3, [0, 1, 2]],
  ["a system message in the middle stays", "uasuau", 4, [0, 1]],
  ["a call goes with its results", "uctau", 2, [0, 1, 2, 3]],
  ["within the last turn a call goes with its results", "uctctctt", 6, [1, 2]],
  ["what is answered stays: the last message of the user and the last results", "uctctct", 1, [1, 2, 3, 4]],
  ["older turns go before calls of the last one", "uauctct", 5, [0, 1]],
  ["a message of the user between a call and its result goes with both", "uacutaua", 2, [0, 1, 2, 3, 4, 5]],
  ["the last message of the user stays, wherever it came", "ucutct", 1, []],
  ["an answer that was begun stays", "uauaua", 2, [0, 1, 2, 3]],
  ["without a user the last answer stays", "saaa", 2, [1, 2]],
])("%s", (_, letters, contextLength, dropped) => {
  expect(fit(conversation(letters), contextLength).dropped).toEqual(dropped);
});

test.each<[maxTokens: number | undefined, contextLength: number, room: number]>([
  [0, 100, 0],
  [30, 100, 30],
  [99, 100, 99],
  [100, 100, 25], // all there is
  [Number.MAX_SAFE_INTEGER, 100, 25],
  [undefined, 100, 25],
  [undefined, 100_000, 1024],
  [5000, 100_000, 5000],
])("maxTokens %s of a context of %i leaves room for %i", (maxTokens, contextLength, room) => {
  const messages = conversation("ua".repeat(contextLength));
  const { ids } = fitting(messages, { truncation: "auto", maxTokens }, contextLength);
  // Turns take two tokens, and the last one stays.
  expect(ids.length).toBe(Math.max(2, 2 * Math.floor((contextLength - room) / 2)));
});

test("without truncation all is read, once, and nothing said of what was left out", () => {
  for (const truncation of ["none", undefined] as const)
    expect(fitting(conversation("uaua"), { truncation }, 1)).toEqual({ ids: [0, 1, 2, 3], kept: conversation("uaua") });
});

test("calls without ids, and those within the text of an answer, stay with the results that follow them", () => {
  const result: Message = { role: "tool", content: "found" };
  for (const call of [
    { role: "assistant", content: '<tool_calls>[{"name": "look"}]</tool_calls>' },
    { role: "assistant", content: "", tool_calls: [{ function: { name: "look", arguments: "{}" } }] },
  ] as const) {
    const messages: Message[] = [
      { role: "user", content: "u" },
      call,
      { role: "user", content: "and?" },
      result,
      { role: "user", content: "u" },
    ];
    expect(fit(messages, 3).dropped).toEqual([0, 1, 2, 3]);
  }
});

test("of any conversation: system messages, the last of the user and what comes last stay, results stay with calls, and as much else as fits", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(..."suact"), minLength: 1, maxLength: 40 }),
      fc.integer({ min: 1, max: 40 }),
      (letters, limit) => {
        const messages = conversation(letters);
        const { dropped = [], kept, reads, ids } = fit(messages, limit);
        expect(dropped).toEqual([...dropped].sort((a, b) => a - b));
        expect(kept).toEqual(messages.filter((_, i) => !dropped.includes(i)));
        for (const i of dropped) expect(messages[i].role).not.toBe("system");
        expect(dropped).not.toContain(letters.lastIndexOf("u"));
        expect(dropped).not.toContain([...letters].findLastIndex((letter) => letter !== "s"));
        const callers = new Map(messages.flatMap(({ toolCalls }, i) => (toolCalls ? [[toolCalls[0].id, i]] : [])));
        for (const [i, { toolCallId }] of messages.entries()) {
          const caller = callers.get(toolCallId);
          if (caller !== undefined) expect(dropped.includes(i)).toBe(dropped.includes(caller));
        }
        expect(reads).toBeLessThanOrEqual(3 + 2 * Math.log2(messages.length));
        // Of all that it ever keeps, the most that fits, or else the least.
        const sizes = messages.map((_, i) => fit(messages, i + 1).ids.length);
        const fitting = sizes.filter((size) => size <= limit);
        expect(ids.length).toBe(fitting.length > 0 ? Math.max(...fitting) : Math.min(...sizes));
      },
    ),
    { seed: 17, numRuns: 300 },
  );
});

test("a long conversation is read a few times, however long it is", () => {
  const { reads, ids } = fit(conversation("ua".repeat(30_000)), 10_000);
  expect(ids.length).toBe(10_000);
  expect(reads).toBeLessThanOrEqual(6);
});

test("many results of a few calls take no longer than others", () => {
  // A result of each of 30,000 calls, all behind the last of them: each looked at alone would be a second for every thousand.
  const calls = Array.from(
    { length: 30_000 },
    (_, i): Message => ({ role: "assistant", content: "", toolCalls: [{ id: `${i}`, name: "f", arguments: {} }] }),
  );
  const results = calls.map((_, i): Message => ({ role: "tool", content: "", toolCallId: `${i}` }));
  const start = performance.now();
  expect(fit([...conversation("ua"), ...calls, ...results, ...conversation("u")], 10).ids.length).toBeLessThan(10);
  expect(performance.now() - start).toBeLessThan(5000);
});
