// Random logits stand for every model there could be: whatever it wants to say, the answer must fit.

import { existsSync, readFileSync } from "node:fs";
import { topOf } from "@jamba/core";
import { Vocabulary as Grammars } from "@jamba/grammar";
import { loadTokenizer, type Tokenizer } from "@jamba/tokenizer";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import { AnswerParts } from "../answer/answer-parts.ts";
import { uniform } from "../answer/sampler.ts";
import { loadModel } from "../load/load-model.ts";
import { type Constraint, Constraints } from "./constraint.ts";
import type { AnswerSpec } from "./format.ts";

const runs = Number(process.env.JAMBA_FUZZ_CALLS ?? 2);
const jsonFile = (url: URL | string) => JSON.parse(readFileSync(url, "utf8"));
const tinyFolder = new URL("../../../tiny-model/", import.meta.url);
const published = process.env.JAMBA_TOKENIZER_JSON ?? "";

interface Vocabulary {
  readonly tokenizer: Tokenizer;
  readonly constraints: Constraints;
  readonly stopId: number;
}

function vocabulary(tokenizer: Tokenizer, stopId: number): Vocabulary {
  return { tokenizer, constraints: new Constraints(tokenizer, [stopId]), stopId };
}

const tiny = (() => {
  const tokenizer = loadTokenizer(jsonFile(new URL("tokenizer.json", tinyFolder)), jsonFile(new URL("tokenizer_config.json", tinyFolder)));
  return vocabulary(tokenizer, tokenizer.eosId!);
})();
afterAll(() => tiny.constraints.dispose());

async function open(spec: AnswerSpec, { constraints } = tiny): Promise<Constraint> {
  const constraint = await constraints.open(spec);
  expect(constraint).toBeDefined();
  return constraint!;
}

/** Puts the logits that may not come next at -∞. */
async function mask(constraint: Constraint, logits: Float32Array): Promise<void> {
  const allowed = await constraint.allowed();
  for (const id of logits.keys()) if (((allowed[id >> 5] >>> (id & 31)) & 1) === 0) logits[id] = Number.NEGATIVE_INFINITY;
}

/** Says what random logits say, with a growing wish to come to an end. Some steps are taken back and taken again. */
async function say(constraint: Constraint, { tokenizer, stopId }: Vocabulary, seed: number, maxTokens = 800): Promise<string> {
  const closes = (id: number) => /["}\]>]/.test(tokenizer.tokenOf(id) ?? "");
  const closing = Array.from({ length: tokenizer.vocabSize }, (_, id) => id).filter(
    (id) => tokenizer.tokenOf(id) && (id === stopId || closes(id)),
  );
  const ids: number[] = [];
  for (let step = 0; !constraint.ended && step < maxTokens; step++) {
    // Longer than the vocabulary, as padded weights are.
    const logits = Float32Array.from({ length: tokenizer.vocabSize + 7 }, (_, id) => uniform(seed * 7919 + step, id));
    for (const id of closing) logits[id] += Math.min(step / 60, 3) * uniform(seed + step, id);
    constraint.prepare();
    await mask(constraint, logits);
    const id = logits.reduce((best, logit, i) => (logit > logits[best] ? i : best), 0);
    expect(id).toBeLessThan(tokenizer.vocabSize);
    await constraint.accept(id);
    ids.push(id);
    if (step % 11 === 5 && !constraint.ended) {
      const count = Math.min(ids.length, 1 + (step % 3));
      const again = ids.slice(-count);
      await constraint.rollback(count);
      for (const old of again) await constraint.accept(old);
    }
  }
  const ended = constraint.ended;
  constraint.dispose();
  if (!ended) return "";
  expect(ids.pop()).toBe(stopId);
  for (const id of ids) expect(id).not.toBe(stopId);
  return tokenizer.decode(ids);
}

const person = {
  type: "object",
  properties: {
    name: { type: "string" },
    age: { type: "integer", minimum: 0, maximum: 130 },
    tags: { type: "array", items: { type: "string" } },
  },
  required: ["name", "age"],
};
const schemas: Record<string, object> = {
  any: {},
  objects: { type: "object" },
  arrays: { type: "array" },
  "listed properties": person,
  "additional properties": { ...person, additionalProperties: { type: "boolean" } },
  "an open object": { type: "object", properties: { "": { type: "integer" }, é1: { type: "null" }, é2: { type: "null" } }, additionalProperties: true },
  "a map": { type: "object", additionalProperties: { type: "number" } },
  "keys by pattern": { type: "object", patternProperties: { "^x-[a-z]{1,5}$": { type: "integer" } }, additionalProperties: false },
  "a required name that is not listed": { type: "object", properties: { a: { type: "null" } }, required: ["a", "b"] },
  enums: { enum: ["a b", 'quote " and \\', "é🎉\n", 1.5, null, { a: [1, true] }] },
  "a const": { const: { kind: "x", list: [1, 2] } },
  "an enum of one type": { type: "string", enum: ["a", 1, "b"] },
  unions: { anyOf: [{ type: "integer" }, { type: "array", items: { type: "boolean" }, minItems: 1 }, { const: "none" }] },
  oneOf: { oneOf: [{ type: "object", properties: { a: { const: 1 } }, required: ["a"] }, { type: "null" }] },
  "several types": { type: ["string", "null", "boolean"] },
  "a union within an object": { type: "object", properties: { a: { type: "integer" }, b: { type: "integer" } }, anyOf: [{ required: ["a"] }, { required: ["b"] }] },
  allOf: { allOf: [{ type: "object", properties: { a: { type: "integer" } }, required: ["a"] }, { properties: { b: { type: "null" }, a: { minimum: 5 } }, required: ["b"] }] },
  "a list in a tree": {
    $defs: { node: { type: "object", properties: { value: { type: "integer" }, next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } }, required: ["value", "next"] } },
    $ref: "#/$defs/node",
  },
  "a reference with more beside it": { $defs: { "a b/c": { type: "string", minLength: 2 } }, $ref: "#/$defs/a%20b~1c", maxLength: 4 },
  "itself": { type: "object", properties: { children: { type: "array", items: { $ref: "#" }, maxItems: 2 } } },
  tuples: { type: "array", prefixItems: [{ type: "integer" }, { type: "string" }], minItems: 1, items: false },
  "tuples with more": { type: "array", prefixItems: [{ type: "integer" }], items: { type: "null" }, minItems: 3, maxItems: 4 },
  counts: { type: "array", items: { enum: [1, 2] }, minItems: 2, maxItems: 3 },
  "no items": { type: "array", items: { type: "null" }, maxItems: 0 },
  lengths: { type: "string", minLength: 3, maxLength: 9 },
  "a least length": { type: "string", minLength: 4 },
  "an empty string": { type: "string", maxLength: 0 },
  patterns: { type: "string", pattern: "^[^a-z]{1,4}\\d+(x|y\\.)?.?$" },
  dates: { type: "string", format: "date" },
  times: { type: "string", format: "date-time" },
  uuids: { type: "string", format: "uuid" },
  addresses: { type: "array", prefixItems: [{ type: "string", format: "ipv4" }, { type: "string", format: "email" }, { type: "string", format: "uri" }], minItems: 3 },
  integers: { type: "integer" },
  "integers in bounds": { type: "integer", minimum: -17, exclusiveMaximum: 1203 },
  "large integers": { type: "integer", minimum: 98765, maximum: Number.MAX_SAFE_INTEGER },
  "negative integers": { type: "integer", maximum: -95 },
  numbers: { type: "number" },
  "numbers in bounds": { type: "number", exclusiveMinimum: 0, maximum: 1.5 },
  "small numbers": { type: "number", minimum: -0.25, exclusiveMaximum: 0.001 },
  "one number": { type: "number", minimum: 3.1, maximum: 3.1 },
  "numbers from below": { type: "number", exclusiveMinimum: -1200.5 },
}; // biome-ignore format: a table

describe("JSON by schema", () => {
  const ajv = new Ajv2020({ strict: false });
  formats.default(ajv);

  test.each(Object.keys(schemas))("%s", async (name) => {
    const schema = schemas[name];
    const valid = ajv.compile(schema);
    let whole = 0;
    for (let seed = 0; seed < runs; seed++) {
      const constraint = await open({ format: { type: "json", schema } });
      expect(constraint.notEnforced).toEqual([]);
      const text = await say(constraint, tiny, seed);
      if (text === "") continue;
      whole++;
      const value = JSON.parse(text);
      expect({ text, valid: valid(value), errors: valid.errors }).toEqual({ text, valid: true, errors: null });
    }
    expect(whole).toBeGreaterThan(0);
  });

  test("is an object or an array without one", async () => {
    for (let seed = 0; seed < runs; seed++) {
      const text = await say(await open({ format: { type: "json" } }), tiny, seed);
      if (text !== "") expect(typeof JSON.parse(text)).toBe("object");
    }
  });

  test("with a pattern that may stand anywhere in the string", async () => {
    const spec: AnswerSpec = { format: { type: "json", schema: { type: "string", pattern: 'a["\\n]b' } } };
    const accepts = async (text: string) => {
      const constraint = await open(spec);
      try {
        for (const id of [...tiny.tokenizer.encode(text), tiny.stopId]) await constraint.accept(id);
        return true;
      } catch {
        return false;
      } finally {
        constraint.dispose();
      }
    };
    for (const value of ['a"b', "a\nb", 'éxa"b\t\\', 'aa"bb'])
      expect({ value, accepted: await accepts(JSON.stringify(value)) }).toEqual({ value, accepted: true });
    for (const text of ['"ab"', '"a"b"', '"a\nb"', '"a\\tb"', '"a\\\\b"'])
      expect({ text, accepted: await accepts(text) }).toEqual({ text, accepted: false });
  });

  test("has no white space but a space after commas and colons", async () => {
    const text = await say(await open({ format: { type: "json", schema: schemas["a const"] } }), tiny, 1);
    expect(text).toBe('{"kind": "x", "list": [1, 2]}');
  });

  test.each([
    [{ type: "foo" }, /format\.schema\.type: .*"foo"/],
    [{ properties: { a: { type: "array", uniqueItems: true } } }, /format\.schema\.properties\.a\.uniqueItems/],
    [{ type: "string", format: "color" }, /format\.schema\.format.*color/],
    [{ type: "string", pattern: "(a)\\1" }, /format\.schema\.pattern.*back/],
    [{ $ref: "http://example.com/x" }, /\$ref/],
    [{ type: "integer", minimum: 5, maximum: 4 }, /satisfies/],
    [{ type: "array", items: Array.from({ length: 2000 }).reduce((inner: object) => ({ not: inner }), {}) }, /nested|deep/],
  ])("that can't be enforced says why: %#", async (schema, message) => {
    await expect(tiny.constraints.open({ format: { type: "json", schema: schema as object, strict: true } })).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(message),
    });
  });
});

describe("regular expressions", () => {
  test.each([
    "yes|no|maybe",
    "[A-Z][a-z]+( [A-Z][a-z]+){0,2}",
    "\\d{3}-\\d{4}",
    "^(?:a|b)*c?$",
    "[^\\s\\w]{2,4}",
    "(?<year>\\d{4})\\/(0[1-9]|1[0-2])",
    "[é-ü🎉]+\\u{1F600}?".replace("\\u{1F600}?", ""),
    ".{5}",
    "\\S\\D\\W",
    "a{0}b{2}c{1}",
    "[\\]\\-a^-]{3}",
    "x{,2}",
  ])("%j", async (pattern) => {
    for (let seed = 0; seed < runs; seed++) {
      const text = await say(await open({ format: { type: "regex", pattern } }), tiny, seed, 400);
      if (text !== "") expect(text).toMatch(new RegExp(`^(?:${pattern})$`, pattern === "x{,2}" ? "s" : "su"));
    }
  });

  test.each(["(a)\\1", "a^b", "(a$)b", "a)", "[z-a]", "a**"])("that can't be: %j", async (pattern) => {
    const first = async () => (await open({ format: { type: "regex", pattern } })).allowed();
    await expect(first()).rejects.toMatchObject({ code: "OPTION" });
  });
});

describe("grammars", () => {
  test("are followed", async () => {
    const text = await say(
      await open({ format: { type: "grammar", grammar: 'root ::= "[" item ("," item)* "]"\nitem ::= [0-9]{1,3}\n' } }),
      tiny,
      1,
    );
    expect(text).toMatch(/^\[\d{1,3}(,\d{1,3})*\]$/);
  });

  test.each([
    ["root ::= foo", /line 1.*foo/],
    ["root = ((", /::=/],
    ["", /root/],
    ['root ::= "a" [z-a]', /range/],
    ["root ::= root\n", /itself/],
    [`root ::= ${"(".repeat(20_000)}"a"${")".repeat(20_000)}`, /./],
  ])("that are wrong say why", async (grammar, message) => {
    await expect(tiny.constraints.open({ format: { type: "grammar", grammar } })).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(message),
    });
  });

  test("that are wrong, a hundred of them, do no harm to an answer under way", async () => {
    const under = await open({ format: { type: "json", schema: person } });
    for (let i = 0; i < 100; i++)
      await expect(tiny.constraints.open({ format: { type: "grammar", grammar: `root ::= foo${i}` } })).rejects.toMatchObject({
        code: "OPTION",
      });
    const text = await say(under, tiny, 2);
    if (text !== "") expect(JSON.parse(text)).toHaveProperty("age");
    expect(JSON.parse(await say(await open({ format: { type: "json", schema: { const: [1] } } }), tiny, 2))).toEqual([1]);
  });

  test("may be in Lark, from the rule start", async () => {
    const grammar = 'start: item ("," item)*\nitem: /[0-9]{2}/\n';
    const text = await say(await open({ format: { type: "grammar", grammar, syntax: "lark" } }), tiny, 1);
    expect(text).toMatch(/^\d{2}(,\d{2})*$/);
  });
});

const functions = [
  { type: "function", function: { name: "add", parameters: { type: "object", properties: { a: { type: "integer" }, b: { type: "integer" } }, required: ["a", "b"] } } },
  { name: "say \"it\"", parameters: { type: "object", properties: { text: { type: "string", maxLength: 6 }, ids: { type: "array", uniqueItems: true, items: { type: "null" }, maxItems: 2 } }, required: ["text"] } },
  { type: "function", function: { name: "now" } },
]; // biome-ignore format: a list

describe.each(["jamba", "chatml"] as const)("tool calls in the %s form", (form) => {
  const read = (text: string, thoughts = false) => {
    const parts = new AnswerParts({ calls: "offered", thoughts, leadingSpace: form === "jamba" });
    parts.push(text);
    parts.end();
    return {
      text: parts.text,
      reasoning: parts.reasoning,
      toolCalls: parts.toolCalls.map(({ name, arguments: args }) => ({ name, arguments: args })),
    };
  };
  const expectValid = (calls: readonly { name: string; arguments: unknown }[]) => {
    for (const { name, arguments: args } of calls) {
      const tool = functions.map((one) => ("function" in one ? one.function! : one)).find((one) => one.name === name);
      expect(tool).toBeDefined();
      if (name === "add") expect(args).toEqual({ a: expect.any(Number), b: expect.any(Number) });
      if (name === 'say "it"') expect([...(args as { text: string }).text].length).toBeLessThanOrEqual(6);
    }
  };

  test("required: one or more and nothing else", async () => {
    for (let seed = 0; seed < 3 * runs; seed++) {
      const text = await say(await open({ tools: functions, toolChoice: "required", form }), tiny, seed);
      if (text === "") continue;
      const parts = read(text);
      expect(parts.text).toBe("");
      expect(parts.toolCalls.length).toBeGreaterThan(0);
      expectValid(parts.toolCalls);
    }
  });

  test.each([{ name: "add" }, { type: "function", function: { name: "add" } } as const])(
    "by name, as %j: one call of that tool",
    async (toolChoice) => {
      const parts = read(await say(await open({ tools: functions, toolChoice, form }), tiny, 4));
      expect(parts.text).toBe("");
      expect(parts.toolCalls).toEqual([{ name: "add", arguments: { a: expect.any(Number), b: expect.any(Number) } }]);
    },
  );

  test.each(["auto", "required"] as const)("%s: the first ends the answer where there may be one at most", async (toolChoice) => {
    const [before, between, after] =
      form === "jamba"
        ? ["<tool_calls>[\n    ", ",\n    ", "\n]</tool_calls>"]
        : ["<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>"];
    const call = '{"name": "now", "arguments": {}}';
    const nextAfter = async (parallelToolCalls: boolean, text: string) => {
      const constraint = await open({ tools: functions, toolChoice, form, parallelToolCalls });
      for (const id of tiny.tokenizer.encode(text)) await constraint.accept(id);
      const logits = new Float32Array(tiny.tokenizer.vocabSize);
      await mask(constraint, logits);
      constraint.dispose();
      return [...logits.keys()].filter((id) => logits[id] === 0);
    };
    const two = before + call + between + call;
    await expect(nextAfter(true, two)).resolves.not.toEqual([]);
    await expect(nextAfter(false, two)).rejects.toThrow(/accept/);
    expect(await nextAfter(false, before + call + after)).toEqual([tiny.stopId]);
  });

  test("after thoughts, which end before the calls", async () => {
    const constraint = await open({ tools: functions, toolChoice: { name: "add" }, form, thoughts: true });
    for (const id of tiny.tokenizer.encode('so {"a" <tool_call>\n</think>')) await constraint.accept(id);
    const parts = read(`so</think>${await say(constraint, tiny, 5)}`, true);
    expect(parts.toolCalls).toHaveLength(1);
  });

  test("auto: any text, but a call that is begun is a valid one", async () => {
    const begun = form === "jamba" ? "<tool_calls>[\n    " : "<tool_call>\n";
    for (let seed = 0; seed < 3 * runs; seed++) {
      const constraint = await open({ tools: functions, form });
      const before = `Well < {"x": 1}. ${begun}`;
      for (const id of tiny.tokenizer.encode(before)) await constraint.accept(id);
      const text = await say(constraint, tiny, seed, 400);
      if (text === "") continue;
      const parts = read(before + text);
      expect(parts.text.startsWith('Well < {"x": 1}.')).toBe(true);
      expect(parts.toolCalls.length).toBeGreaterThan(0);
      expectValid(parts.toolCalls);
    }
  });

  test("beside a format: the one or the other", async () => {
    for (let seed = 0; seed < 3 * runs; seed++) {
      const text = await say(await open({ tools: functions, form, format: { type: "regex", pattern: "[ab]{3}" } }), tiny, seed);
      if (text === "") continue;
      const parts = read(text);
      if (parts.toolCalls.length > 0) expectValid(parts.toolCalls);
      else expect(parts.text).toMatch(/^[ab]{3}$/);
    }
  });
});

test("choices that can't be made say why", async () => {
  const rejects = (spec: AnswerSpec, message: RegExp) =>
    expect(tiny.constraints.open(spec)).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(message) });
  await rejects({ toolChoice: "required", form: "jamba" }, /tools/);
  await rejects({ tools: functions, toolChoice: { name: "sub" }, form: "jamba" }, /expected one of add, .*"sub"/);
  await rejects({ tools: [{ foo: 1 }], form: "jamba" }, /tools/);
  await rejects({ tools: functions }, /messages/);
});

test("where everything is allowed there is no constraint", async () => {
  for (const spec of [
    {},
    { thoughts: true, form: "chatml" },
    { tools: [], form: "jamba" },
    { tools: functions, toolChoice: "none", form: "jamba" },
  ] as const)
    expect(await tiny.constraints.open(spec)).toBeUndefined();
});

test("a model without a stop token is refused", async () => {
  await expect(new Constraints(tiny.tokenizer, []).open({ format: { type: "json" } })).rejects.toMatchObject({ code: "UNSUPPORTED" });
});

test("what is disposed while a call waits for the code that binds answers opens no vocabulary for it", async () => {
  const constraints = new Constraints(tiny.tokenizer, [tiny.stopId]);
  const opening = constraints.open({ format: { type: "regex", pattern: "a" } });
  await constraints.dispose();
  await expect(opening).rejects.toMatchObject({ code: "DISPOSED" });
});

describe("a constraint", () => {
  const spec: AnswerSpec = { format: { type: "regex", pattern: "ab?" } };

  test("refuses what it masks, with nothing changed", async () => {
    const constraint = await open(spec);
    const [a] = tiny.tokenizer.encode("a", {});
    await expect(constraint.accept(tiny.stopId)).rejects.toThrow(expect.objectContaining({ code: "OPTION" }));
    await expect(constraint.accept(tiny.tokenizer.vocabSize + 3)).rejects.toThrow(expect.objectContaining({ code: "OPTION" }));
    const before = new Float32Array(tiny.tokenizer.vocabSize);
    await mask(constraint, before);
    expect(before[a]).toBe(0);
    expect(before[tiny.stopId]).toBe(Number.NEGATIVE_INFINITY);
    await expect(constraint.rollback(1)).rejects.toThrow(expect.objectContaining({ code: "OPTION" }));
  });

  test("can take back its end", async () => {
    const constraint = await open(spec);
    for (const id of [...tiny.tokenizer.encode("ab"), tiny.stopId]) await constraint.accept(id);
    expect(constraint.ended).toBe(true);
    await expect(constraint.allowed()).rejects.toMatchObject({ code: "OPTION" });
    await expect(constraint.accept(tiny.stopId)).rejects.toThrow(expect.objectContaining({ code: "OPTION" }));
    await constraint.rollback(1);
    expect(constraint.ended).toBe(false);
    // Nothing but the end is left.
    const logits = new Float32Array(tiny.tokenizer.vocabSize + 40);
    await mask(constraint, logits);
    expect([...logits.keys()].filter((id) => logits[id] === 0)).toEqual([tiny.stopId]);
  });

  test("gives the same mask whether it was prepared or not", async () => {
    const [one, other] = [await open({ format: { type: "json" } }), await open({ format: { type: "json" } })];
    for (const id of tiny.tokenizer.encode('{"a": [1, "b')) {
      const [x, y] = [new Float32Array(tiny.tokenizer.vocabSize), new Float32Array(tiny.tokenizer.vocabSize)];
      one.prepare();
      await Promise.all([mask(one, x), mask(other, y)]);
      expect(x).toEqual(y);
      one.prepare(); // of a state that is left at once
      await one.accept(id);
      await other.accept(id);
    }
  });
});

test("the tiny model, which tells stories, writes JSON by schema when it must", async () => {
  await using model = await loadModel("tiny");
  const constraint = await open({
    format: { type: "json", schema: { ...person, properties: { ...person.properties, name: { type: "string", maxLength: 12 } } } },
  });
  const ids: number[] = [];
  let { logits, state } = await model.forward(model.tokenizer.encode("Once upon a time there was", { addBos: true }));
  while (!constraint.ended && ids.length < 200) {
    const scores = Float32Array.from(logits.data as Float32Array);
    // Stories have long lists; a list that may end ends.
    for (const id of model.tokenizer.encode("]}")) scores[id] += 8;
    await mask(constraint, scores);
    const id = topOf(scores, 1, 1).ids[0];
    await constraint.accept(id);
    ids.push(id);
    const before = state;
    const next = model.forward([id], { state: before });
    constraint.prepare();
    ({ logits, state } = await next);
    before[Symbol.dispose]();
  }
  state[Symbol.dispose]();
  expect(constraint.ended).toBe(true);
  const value = JSON.parse(tiny.tokenizer.decode(ids.slice(0, -1)));
  expect(new Ajv2020({ strict: false }).validate(person, value)).toBe(true);
});

describe("with Jamba 1.5's vocabulary of 65,536", () => {
  beforeEach(({ skip }) => skip(!existsSync(published), "JAMBA_TOKENIZER_JSON names no tokenizer.json"));
  const large = existsSync(published) ? vocabulary(loadTokenizer(jsonFile(published)), 518) : tiny;

  test("commas, which it calls special, are text; its control tokens are not", async () => {
    const constraint = await open({ format: { type: "json" } }, large);
    for (const id of large.tokenizer.encode('{"a": [1, 2], "b": "x, y')) await constraint.accept(id);
    for (const token of ["<|bom|>", "<documents>", "<tool_calls>", "<|pad|>"])
      await expect(constraint.accept(large.tokenizer.idOf(token)!)).rejects.toThrow(/accept/);
  });

  test("the tag of a call is its one token, and no string holds it", async () => {
    const constraint = await open({ tools: functions, toolChoice: "required", form: "jamba" }, large);
    await constraint.accept(large.tokenizer.idOf("<tool_calls>")!);
    for (const id of large.tokenizer.encode('[\n    {"name": "say \\"it\\"", "arguments": {"text": "')) await constraint.accept(id);
    await expect(constraint.accept(large.tokenizer.idOf("</tool_calls>")!)).rejects.toThrow(/accept/);
    expect(await say(constraint, large, 1, 300)).toMatch(/<\/tool_calls>$/);
  });

  test.each(["listed properties", "numbers in bounds", "patterns", "enums"])("JSON by schema: %s", async (name) => {
    const valid = new Ajv2020({ strict: false }).compile(schemas[name]);
    const text = await say(await open({ format: { type: "json", schema: schemas[name] } }, large), large, 3, 300);
    if (text !== "") expect(valid(JSON.parse(text))).toBe(true);
  });
});

test("what one tenant has compiled is compiled anew for another, unless they share all", async () => {
  const compile = vi.spyOn(Grammars.prototype, "compile");
  try {
    const spec: AnswerSpec = { format: { type: "json", schema: { const: "a word that nobody else asked for" } } };
    const tenants = [{ name: "a" }, { name: "a" }, { name: "b" }, { name: "c", shares: "system" }, { name: "d", shares: "all" }, undefined];
    for (const tenant of tenants as ({ name: string } | undefined)[]) (await tiny.constraints.open(spec, { tenant }))!.dispose();
    const found = await Promise.all(compile.mock.results.map(({ value }) => value));
    expect(found.map((one) => found.indexOf(one))).toEqual([0, 0, 2, 3, 4, 4]);
  } finally {
    compile.mockRestore();
  }
});
