import { parseToolCalls } from "@jamba/tokenizer";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AnswerParts, type AnswerPartsOptions, type AnswerPiece } from "./answer-parts.ts";

interface Whole {
  readonly text: string;
  readonly reasoning: string | undefined;
  readonly toolCalls: readonly unknown[];
  /** By index: the name and the JSON of the arguments, as streamed. */
  readonly streamed: readonly { readonly name: string; readonly json: string }[];
  readonly stopString: string | undefined;
  readonly pieces: readonly AnswerPiece[];
}

function read(pushes: readonly string[], options: AnswerPartsOptions, isCut = false): Whole {
  const parts = new AnswerParts(options);
  const pieces = [...pushes.flatMap((push) => parts.push(push)), ...parts.end({ isCut })];
  const streamed: { name: string; json: string }[] = [];
  const ids: string[] = [];
  let [text, reasoning] = ["", ""];
  for (const piece of pieces) {
    if ("text" in piece) text += piece.text;
    else if ("reasoning" in piece) reasoning += piece.reasoning;
    else {
      const { index, id, name, argumentsDelta } = piece.toolCall;
      // The first of an index has id and name, and no other.
      for (const first of [id, name]) expect(first !== undefined).toBe(streamed[index] === undefined);
      if (id !== undefined) ids[index] = id;
      streamed[index] ??= { name: name!, json: "" };
      streamed[index].json += argumentsDelta;
    }
  }
  expect(parts.text).toBe(text);
  expect(parts.reasoning ?? "").toBe(reasoning);
  for (const { id } of parts.toolCalls) expect(ids).toContain(id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { id, json } of parts.toolCalls) expect(streamed[ids.indexOf(id)].json).toBe(json);
  const toolCalls = parts.toolCalls.map(({ id: _, json: __, ...call }) => call);
  return { text, reasoning: parts.reasoning, toolCalls, streamed, stopString: parts.stopString, pieces };
}

const tools = { calls: "found" } as const;
const offered = { calls: "offered" } as const;
const add = '{"name": "add", "arguments": {"a": 1, "b": [2, "}]<"]}}';
const parsedAdd = { name: "add", arguments: { a: 1, b: [2, "}]<"] } };

/** Bits of answers, of which random ones are made: well-formed, malformed and torn ones alike. */
const bits = [
  "<think>", "</think>", "<tool_calls>", "</tool_calls>", "<tool_call>", "</tool_call>", "<tool", "</", "<", "[", "]", ",", "{", "}", '"', "\\", " ", "\n",
  "word", '{"name": "f", "arguments": ', add, `<tool_call>\n${add}\n</tool_call>`, `<tool_calls>[\n    ${add},\n    ${add}\n]</tool_calls>`, "x<y", "🎉",
]; // biome-ignore format: a list
const answers = fc.array(fc.constantFrom(...bits), { maxLength: 14 }).map((some) => some.join(""));
const options: fc.Arbitrary<AnswerPartsOptions> = fc.record({
  thoughts: fc.boolean(),
  calls: fc.constantFrom("none", "found", "offered", "forced"),
  leadingSpace: fc.boolean(),
  stop: fc.array(fc.constantFrom("word", " ", "\n", "w", "rd", "<", "<t", "},", "d<", "\n\n", "x<y", "🎉"), { maxLength: 3 }),
});

function cutAt(text: string, cuts: readonly number[]): string[] {
  const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
  return places.slice(1).map((to, i) => text.slice(places[i], to));
}

test("however an answer is cut, its parts are the same", () => {
  fc.assert(
    fc.property(answers, options, fc.array(fc.nat(), { maxLength: 20 }), fc.boolean(), (text, given, cuts, isCut) => {
      const { pieces: _, ...whole } = read([text], given, isCut);
      expect(read(cutAt(text, cuts), given, isCut)).toMatchObject(whole);
      expect(read([...text], given, isCut)).toMatchObject(whole);
    }),
    { numRuns: 2000 },
  );
});

test("what was streamed of the calls that count is their JSON", () => {
  fc.assert(
    fc.property(answers, options, (text, given) => {
      const { streamed, toolCalls } = read([...text], given);
      const good = streamed.flatMap(({ name, json }) => {
        try {
          return [{ name, arguments: JSON.parse(json) }];
        } catch {
          return [];
        }
      });
      for (const call of toolCalls) if (!("incomplete" in (call as object))) expect(good).toContainEqual(call);
    }),
    { numRuns: 1000 },
  );
});

test("an answer that goes on from its beginning gives out the rest of what the whole one has, and whole calls", () => {
  fc.assert(
    fc.property(answers, options, fc.nat(), fc.array(fc.nat(), { maxLength: 20 }), (text, { stop, ...given }, cut, cuts) => {
      const at = cut % (text.length + 1);
      const whole = read([text], given);
      const prefix = text.slice(0, at);
      const rest = read([...text.slice(at)], { ...given, prefix });
      const { pieces: _, ...stopped } = read([text.slice(at)], { ...given, prefix, stop });
      expect(read(cutAt(text.slice(at), cuts), { ...given, prefix, stop })).toMatchObject(stopped);
      expect(whole.text.endsWith(rest.text)).toBe(true);
      expect(rest.text.length + (rest.reasoning?.length ?? 0)).toBeLessThanOrEqual(text.length - at);
      expect((whole.reasoning ?? "").endsWith(rest.reasoning ?? "")).toBe(true);
      expect(whole.toolCalls.slice(whole.toolCalls.length - rest.toolCalls.length)).toEqual(rest.toolCalls);
    }),
    { numRuns: 1000 },
  );
});

test.each<[string, AnswerPartsOptions & { prefix: string }, string, Partial<Whole>]>([
  ["words", { prefix: "So " }, "what", { text: "what" }],
  ["words and half a space", { prefix: "So", leadingSpace: true }, " what", { text: " what" }],
  ["open thoughts", { thoughts: true, prefix: "\nWell, " }, "yes.\n</think>\n\nAns", { reasoning: "yes.", text: "Ans" }],
  ["half a tag", { thoughts: true, prefix: "hm</thi" }, "nk>Ans", { reasoning: "", text: "Ans" }],
  ["what looked like half a tag", { prefix: "a <tool_" }, "box", { text: "box" }],
  ["thoughts that have ended", { thoughts: true, prefix: "hm\n</think>\n" }, "\nAns", { reasoning: undefined, text: "Ans" }],
  ["words behind thoughts", { thoughts: true, prefix: "hm</think>So" }, " what", { reasoning: undefined, text: " what" }],
  ["a whole call", { prefix: `<tool_call>${add}</tool_call>` }, `<tool_call>${add}</tool_call>`, { toolCalls: [parsedAdd] }],
  [
    "a begun call",
    { prefix: `Yes.\n<tool_calls>[${add}, ${add.slice(0, 40)}` },
    `${add.slice(40)}]</tool_calls>`,
    { text: "", toolCalls: [parsedAdd], streamed: [{ name: "add", json: add.slice(29, -1) }] },
  ],
])("goes on from %s", (_, given, rest, expected) => {
  for (const pushes of [[rest], [...rest]]) expect(read(pushes, { ...tools, ...given })).toMatchObject(expected);
});

test("text without tags comes out as it is, whatever is looked for", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      fc.pre(!/<(think|tool_calls?)>/.test(text));
      expect(read([...text], tools)).toMatchObject({ text, reasoning: undefined, toolCalls: [] });
    }),
  );
});

describe("agrees with parseToolCalls", () => {
  const json = fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.stringify(value));
  const call = fc
    .tuple(fc.string({ unit: "grapheme" }), json, fc.boolean(), fc.constantFrom("", " ", "\n"))
    .filter(([name, args]) => !`${name}${args}`.includes("</tool_call"))
    .map(([name, args, turned, gap]) => {
      const pairs = [`"name":${gap}${JSON.stringify(name)}`, `"arguments":${gap}${args}${gap}`];
      return `{${gap}${(turned ? pairs.reverse() : pairs).join(`,${gap}`)}${gap}}`;
    });
  const words = fc.constantFrom("", "Let me see.", "a\n\nb", "x<y>z");
  const gaps = fc.constantFrom("", " ", "\n", "\n\n");

  test.each([
    ["tool_calls", (calls: readonly string[], gap: string) => `<tool_calls>[${gap}${calls.join(`,${gap}`)}${gap}]</tool_calls>`],
    ["tool_call", (calls: readonly string[], gap: string) => calls.map((one) => `<tool_call>${gap}${one}${gap}</tool_call>`).join(gap)],
  ])("on calls in %s with text around them", (_, block) => {
    fc.assert(
      fc.property(fc.array(call, { minLength: 1, maxLength: 3 }), words, words, gaps, (calls, before, after, gap) => {
        const text = `${before}${gap}${block(calls, gap)}${gap}${after}${gap}`;
        const { content, toolCalls } = parseToolCalls(text);
        expect(toolCalls).toHaveLength(calls.length);
        expect(read([...text], tools)).toMatchObject({ text: content, toolCalls });
      }),
    );
  });

  test.each([
    "",
    "text ",
    " \n",
    "<tool_calls>[oops]</tool_calls>",
    " <tool_calls>[7]</tool_calls>",
    '<tool_calls>[{"nam":1}]</tool_calls>',
    '<tool_calls>[{"name":1, "arguments": {}}]</tool_calls>',
    '<tool_calls>[{"name":"a"},]</tool_calls>',
    `<tool_calls>[${add}, oops]</tool_calls>`,
    '<tool_call>{"name":"a", "arguments": {"x": 01}}</tool_call>',
    '<tool_call>{"name":"a", "arguments": }</tool_call>',
    "<tool_calls>[",
    "<tool_calls",
    '<tool_call>{"name": "a',
    "</tool_calls><tool_calls>",
    "<tool_calls>[]</tool_calls>",
    "<tool_call>oops</tool_call> and",
  ])("that %j is text", (text) => {
    expect(parseToolCalls(text)).toEqual({ content: text, toolCalls: [] });
    expect(read([...text], tools)).toMatchObject({ text, toolCalls: [] });
  });
});

test.each([
  ["a call after a malformed one", `<tool_call>oops</tool_call> <tool_call>${add}</tool_call>`, "<tool_call>oops</tool_call>", 1],
  ["calls in both forms", `<tool_calls>[${add}]</tool_calls>x<tool_call>${add}</tool_call>`, "x", 2],
  ["a closing tag in a string", '<tool_call>{"name": "add", "arguments": {"t": "</tool_call>"}}</tool_call>', "", 1],
  ["a whole call before the cut", `<tool_calls>[${add}, {"name": "add", "arguments": {"a"`, "", 1],
])("beyond parseToolCalls: %s", (_, text, content, calls) => {
  const found = read([...text], tools);
  expect(found.text.trimEnd()).toBe(content);
  expect(found.toolCalls).toHaveLength(calls);
});

test("the arguments of a call that was offered stream before it is whole, others show once they are", () => {
  const bits = ['Hm. <tool_call>\n{"name": "add", "arg', 'uments": {"a": "so', ' far"}}', "\n</tool_call>"];
  const id = expect.stringMatching(/^call_[0-9a-f]{24}$/);
  const call = (more: object) => [{ toolCall: { index: 0, ...more } }];
  const first = { id, name: "add" };
  const parts = new AnswerParts(offered);
  expect(bits.map((bit) => parts.push(bit))).toEqual([
    [{ text: "Hm." }],
    call({ ...first, argumentsDelta: '{"a": "so' }),
    call({ argumentsDelta: ' far"}' }),
    [],
  ]);
  expect(parts.toolCalls).toEqual([{ id, name: "add", arguments: { a: "so far" }, json: '{"a": "so far"}' }]);
  const unasked = new AnswerParts(tools);
  const whole = call({ ...first, argumentsDelta: '{"a": "so far"}' });
  expect(bits.map((bit) => unasked.push(bit))).toEqual([[{ text: "Hm." }], [], [], whole]);
});

describe("an answer that something else than the model ends", () => {
  const begun = 'Well. <tool_call>\n{"name": "add", "arguments": {"a": "so';
  const cut = { name: "add", arguments: '{"a": "so', incomplete: true };

  test.each([
    ["within a call has what there is of it", begun, "Well.", [cut]],
    ["between two calls has the first", `<tool_calls>[${add},\n`, "", [parsedAdd]],
    ["within the second call has both", `<tool_calls>[${add}, {"name": "add", "arguments": {"a": "so`, "", [parsedAdd, cut]],
    ["after the opening tag has no call", "Well. <tool_call>", "Well. ", []],
    ["within the name has no call", 'Well.<tool_calls>[\n    {"name": "ad', "Well.", []],
    ["before the arguments has no call", 'Well.<tool_calls>[\n    {"name": "add", "arguments": ', "Well.", []],
    ["within the opening tag has none of it", "Well. <tool_c", "Well. ", []],
    ["within the closing tag has the call", `<tool_call>${add}</tool`, "", [parsedAdd]],
  ])("%s", (_, text, content, calls) => {
    expect(read([...text], offered, true)).toMatchObject({ text: content, toolCalls: calls });
    const { streamed } = read([...text], offered, true);
    expect(streamed).toHaveLength(calls.length);
    expect(read([...text], { calls: "forced" }, true)).toMatchObject({ text: "", toolCalls: calls });
  });

  test("or that was forced to call has no text, wherever that is", () => {
    const whole = ` <tool_calls>[\n    ${add},\n    ${add}\n]</tool_calls>`;
    for (let end = 0; end <= whole.length; end++) {
      for (const options of [{ calls: "forced" }, { calls: "forced", leadingSpace: true }] as const)
        expect(read([...whole.slice(0, end)], options, true).text).toBe("");
      const { text } = read([...whole.slice(0, end)], { ...offered, leadingSpace: true }, true);
      expect(text).toBe("");
    }
  });
});

describe("stop texts", () => {
  const stop = ["###", "}", "name", "[", "\n", "<tool"];

  test.each([...stop, '"', "tool_call", ">"])("%j within a call ends nothing", (one) => {
    for (const calls of ["found", "offered", "forced"] as const) {
      const text = `<tool_calls>[\n    ${add}\n]</tool_calls>`;
      expect(read([...text], { calls, stop: [one] })).toMatchObject({ text: "", toolCalls: [parsedAdd], stopString: undefined });
    }
  });

  test.each([
    ["after a call", `<tool_call>${add}</tool_call> so ### what`, { text: "so", toolCalls: [parsedAdd], stopString: "###" }],
    ["before a call", `so} <tool_call>${add}</tool_call>`, { text: "so", toolCalls: [], stopString: "}" }],
    ["in thoughts", "<think>so ### what</think>Yes.", { reasoning: "so", text: "", stopString: "###" }],
    ["that begins as a tag does", "so <tool box", { text: "so ", stopString: "<tool" }],
    ["in white space that shows", "\nso", { text: "", stopString: "\n" }],
  ])("%s end the answer", (_, text, found) => {
    expect(read([...text], { ...offered, stop })).toMatchObject(found);
  });

  test("are not looked for in white space that no reader sees, nor across a call", () => {
    expect(read([..."<think>so</think>\n\nYes."], { ...offered, stop: ["\n\n"] })).toMatchObject({ text: "Yes.", stopString: undefined });
    expect(read([..." Yes."], { leadingSpace: true, stop: [" "] })).toMatchObject({ text: "Yes.", stopString: undefined });
    const { text, stopString } = read([...`a\n<tool_call>${add}</tool_call>\nb`], { ...offered, stop: ["\n\n"] });
    expect([text, stopString]).toEqual(["a\n\nb", undefined]);
  });

  test("or parts of them never show, and the text before the first that ends is whole", () => {
    const letter = fc.constantFrom("a", "b", "c", " ");
    const text = fc.string({ unit: letter, maxLength: 30 });
    const stops = fc.array(fc.string({ unit: letter, minLength: 1, maxLength: 4 }), { maxLength: 3 });
    fc.assert(
      fc.property(text, stops, fc.array(fc.nat(30)), (text, stop, cuts) => {
        const ends = stop.flatMap((one) => (text.includes(one) ? [text.indexOf(one) + one.length] : []));
        const found = read(cutAt(text, cuts), { stop });
        if (ends.length === 0) expect(found).toMatchObject({ text, stopString: undefined });
        else expect(found.text + found.stopString).toBe(text.slice(0, Math.min(...ends)));
      }),
      { seed: 5, numRuns: 2000 },
    );
  });

  test("what is settled stays, and is all of the answer at its end", () => {
    fc.assert(
      fc.property(answers, options, (text, given) => {
        const parts = new AnswerParts(given);
        const settled = [...text].map((char) => {
          parts.push(char);
          return parts.settled;
        });
        parts.end();
        for (const [i, count] of settled.entries()) expect(count).toBeLessThanOrEqual(settled[i + 1] ?? parts.settled);
        if (parts.stopString === undefined) expect(parts.settled).toBe(text.length);
        else expect(text.startsWith(parts.stopString, parts.settled)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});

test("several calls of one array have indices of their own", () => {
  const { streamed, toolCalls } = read([`<tool_calls>[${add}, {"name": "now"}]</tool_calls>`], tools);
  expect(streamed.map(({ name }) => name)).toEqual(["add", "now"]);
  expect(toolCalls).toEqual([parsedAdd, { name: "now", arguments: {} }]);
});

describe("thoughts", () => {
  test.each([
    ["that the prompt opened", true, "\nso so\n</think>\n\nYes.", "so so", "Yes."],
    ["that the answer opened", false, " <think>so</think> Yes.", "so", "Yes."],
    ["that are all there is", true, "so </thin", "so </thin", ""],
    ["that are empty", true, "</think>Yes.", "", "Yes."],
    ["that hold calls", true, `<tool_call>${add}</tool_call></think>Yes.`, `<tool_call>${add}</tool_call>`, "Yes."],
  ])("%s", (_, thoughts, answer, reasoning, text) => {
    expect(read([...answer], { thoughts, calls: "found" })).toMatchObject({ reasoning, text, toolCalls: [] });
  });

  test("are none where the tag stands within the text", () => {
    expect(read([..."I <think>so</think>"], {})).toMatchObject({ reasoning: undefined, text: "I <think>so</think>" });
  });
});

test("the template's space is dropped, and no other", () => {
  expect(read(["  Yes. "], { leadingSpace: true, calls: "found" }).text).toBe(" Yes. ");
  expect(read([" "], { leadingSpace: true }).text).toBe("");
  expect(read([" Yes."], {}).text).toBe(" Yes.");
});
