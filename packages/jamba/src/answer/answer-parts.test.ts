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
  readonly pieces: readonly AnswerPiece[];
}

function read(pushes: readonly string[], options: AnswerPartsOptions): Whole {
  const parts = new AnswerParts(options);
  const pieces = [...pushes.flatMap((push) => parts.push(push)), ...parts.end()];
  const streamed: { name: string; json: string }[] = [];
  let [text, reasoning] = ["", ""];
  for (const piece of pieces) {
    if ("text" in piece) text += piece.text;
    else if ("reasoning" in piece) reasoning += piece.reasoning;
    else {
      const { index, name, argumentsDelta } = piece.toolCall;
      // The first of an index has the name, and no other.
      expect(name !== undefined).toBe(streamed[index] === undefined);
      streamed[index] ??= { name: name!, json: "" };
      streamed[index].json += argumentsDelta;
    }
  }
  expect(parts.text).toBe(text);
  expect(parts.reasoning ?? "").toBe(reasoning);
  return { text, reasoning: parts.reasoning, toolCalls: parts.toolCalls, streamed, pieces };
}

const tools = { tools: true };
const add = '{"name": "add", "arguments": {"a": 1, "b": [2, "}]<"]}}';
const parsedAdd = { name: "add", arguments: { a: 1, b: [2, "}]<"] } };

/** Bits of answers, of which random ones are made: well-formed, malformed and torn ones alike. */
const bits = [
  "<think>", "</think>", "<tool_calls>", "</tool_calls>", "<tool_call>", "</tool_call>", "<tool", "</", "<", "[", "]", ",", "{", "}", '"', "\\", " ", "\n",
  "word", '{"name": "f", "arguments": ', add, `<tool_call>\n${add}\n</tool_call>`, `<tool_calls>[\n    ${add},\n    ${add}\n]</tool_calls>`, "x<y", "🎉",
]; // biome-ignore format: a list
const answers = fc.array(fc.constantFrom(...bits), { maxLength: 14 }).map((some) => some.join(""));
const options = fc.record({ thoughts: fc.boolean(), tools: fc.boolean(), leadingSpace: fc.boolean() });

function cutAt(text: string, cuts: readonly number[]): string[] {
  const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
  return places.slice(1).map((to, i) => text.slice(places[i], to));
}

test("however an answer is cut, its parts are the same", () => {
  fc.assert(
    fc.property(answers, options, fc.array(fc.nat(), { maxLength: 20 }), (text, given, cuts) => {
      const { pieces: _, ...whole } = read([text], given);
      expect(read(cutAt(text, cuts), given)).toMatchObject(whole);
      expect(read([...text], given)).toMatchObject(whole);
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
      for (const call of toolCalls) expect(good).toContainEqual(call);
    }),
    { numRuns: 1000 },
  );
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
  ["no call but its beginning", 'Well. <tool_call>{"name": "add", "arguments": {"a"', "Well.", 0],
])("beyond parseToolCalls: %s", (_, text, content, calls) => {
  const found = read([...text], tools);
  expect(found.text.trimEnd()).toBe(content);
  expect(found.toolCalls).toHaveLength(calls);
});

test("the arguments of a call stream before it is whole", () => {
  const parts = new AnswerParts(tools);
  expect(parts.push('Hm. <tool_call>\n{"name": "add", "arg')).toEqual([{ text: "Hm." }]);
  expect(parts.push('uments": {"a": "so')).toEqual([{ toolCall: { index: 0, name: "add", argumentsDelta: '{"a": "so' } }]);
  expect(parts.push(' far"}}')).toEqual([{ toolCall: { index: 0, argumentsDelta: ' far"}' } }]);
  expect(parts.toolCalls).toEqual([]);
  expect(parts.push("\n</tool_call>")).toEqual([]);
  expect(parts.toolCalls).toEqual([{ name: "add", arguments: { a: "so far" } }]);
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
    expect(read([...answer], { thoughts, tools: true })).toMatchObject({ reasoning, text, toolCalls: [] });
  });

  test("are none where the tag stands within the text", () => {
    expect(read([..."I <think>so</think>"], {})).toMatchObject({ reasoning: undefined, text: "I <think>so</think>" });
  });
});

test("the template's space is dropped, and no other", () => {
  expect(read(["  Yes. "], { leadingSpace: true, tools: true }).text).toBe(" Yes. ");
  expect(read([" "], { leadingSpace: true }).text).toBe("");
  expect(read([" Yes."], {}).text).toBe(" Yes.");
});
