// Vocabularies of GGUF files as they were published, not as they should be: what is read as what, and what is told of it.

import { type GgufValue, openCheckpoint, placeGguf } from "@jamba/loader";
import { loadTokenizer, type Tokenizer } from "@jamba/tokenizer";
import { describe, expect, it } from "vitest";

const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
const special = ["<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|unk|>", "<|bom|>", ","];
const pieces = ["▁a", "▁▁", "ab", "▁ab", "▁", "a", "b"];
const tokens = [...special, ...bytes, ...pieces];
const types = [3, 3, 3, 2, 4, 4, ...bytes.map(() => 6), ...pieces.map(() => 1)];
const first = tokens.length;

const model: Record<string, GgufValue> = {
  ...{ "general.architecture": "jamba", "jamba.block_count": 1, "jamba.embedding_length": 32, "jamba.feed_forward_length": 32 },
  ...{ "jamba.attention.head_count": 2, "jamba.attention.head_count_kv": 0, "jamba.ssm.conv_kernel": 4 },
  ...{ "jamba.ssm.inner_size": 64, "jamba.ssm.state_size": 16, "jamba.ssm.time_step_rank": 2 },
};

/** The tokenizer of a file that has `more` behind the other tokens. */
async function load(
  more: readonly (readonly [token: string, type: number])[] = [],
  ids: Record<string, GgufValue> = {},
): Promise<{ tokenizer: Tokenizer; warnings: readonly string[] }> {
  const all = [...tokens, ...more.map(([token]) => token)];
  const named: Record<string, GgufValue> = {
    model: "llama",
    tokens: all,
    token_type: Int32Array.from([...types, ...more.map(([, type]) => type)]),
    scores: Float32Array.from(all, (_, id) => -id),
    ...{ padding_token_id: 0, bos_token_id: 1, eos_token_id: 2, unknown_token_id: 3 },
    ...ids,
  };
  const metadata = new Map([
    ...Object.entries(model),
    ...Object.entries(named).map(([key, value]): [string, GgufValue] => [`tokenizer.ggml.${key}`, value]),
  ]);
  await using checkpoint = await openCheckpoint([{ name: "m.gguf", blob: new Blob([placeGguf(metadata, []).header]) }]);
  return { tokenizer: loadTokenizer(checkpoint.tokenizer, checkpoint.tokenizerConfig), warnings: checkpoint.warnings! };
}

const idOf = (token: string) => tokens.indexOf(token);

describe("a token that looks like a control token and has the type of a text", () => {
  it.each([
    ["<|im_end|>", 1],
    ["<|eom|>", 1],
    ["<|im_start|>", 6],
    ["<|system|>", 0],
    ["<｜end▁of▁sentence｜>", 1],
    ["</s>", 1],
    ["<end_of_turn>", 5],
    ["[EOS]", 1],
  ])("%s of type %i is one id in a prompt, special, and told", async (token, type) => {
    const { tokenizer, warnings } = await load([[token, type]]);
    expect(tokenizer.encode(`a${token}b`)).toEqual([idOf("a"), first, idOf("b")]);
    expect(tokenizer.isSpecial(first)).toBe(true);
    const told = `m.gguf: tokenizer.ggml.token_type: expected control tokens, found ${JSON.stringify(token)} with the type of plain text;`;
    expect(warnings).toEqual([expect.stringContaining(told)]);
  });

  it.each([
    ["<|im_end|>", 3],
    ["<|im_end|>", 4],
    ["<|reserved_1|>", 5],
    ["a|b", 1],
    ["<|", 1],
    ["<||>", 1],
  ])("%s of type %i is not meant", async (token, type) => {
    expect((await load([[token, type]])).warnings).toEqual([]);
  });

  it("is what the file names as one of its special tokens, if it stands in brackets", async () => {
    const eot = { eot_token_id: first };
    expect((await load([["<end>", 1]], eot)).tokenizer.isSpecial(first)).toBe(true);
    expect((await load([["end", 1]], eot)).tokenizer.isSpecial(first)).toBe(false);
  });

  it("is added and stays text, if it stands in brackets and no merge makes it", async () => {
    const { tokenizer, warnings } = await load([["<tool_call>", 1]]);
    expect(tokenizer.encode("a<tool_call>b")).toEqual([idOf("a"), first, idOf("b")]);
    expect([tokenizer.isSpecial(first), warnings]).toEqual([false, []]);
    // One that its parts make is text as any other: the space goes with it.
    const made = await load(["<", ">", "<a", "<a>", "▁<a>"].map((token) => [token, 1]));
    expect(made.tokenizer.encode(" <a>")).toEqual([first + 4]);
  });

  it("is told of in one line, however many there are", async () => {
    const reserved = Array.from({ length: 600 }, (_, i) => [`<|reserved_${i}|>`, 1] as const);
    expect((await load(reserved)).warnings).toEqual([expect.stringContaining('"<|reserved_3|>" and 596 more')]);
  });
});

describe("equal tokens", () => {
  const eom = ["<|eom|>", 3] as const;
  it.each<[string, (readonly [string, number])[], { text: string; ids: number[]; told: boolean }]>([
    ["a text becomes the last of them", [["ab", 1]], { text: "ab", ids: [first], told: true }],
    ["a part of a text may be one", [["a", 1]], { text: "ab", ids: [idOf("ab")], told: true }],
    ["those that fill gaps are none", [["ab", 5]], { text: "ab", ids: [idOf("ab")], told: false }],
    ["control tokens may be some", [eom, eom], { text: "a<|eom|>", ids: [idOf("a"), first + 1], told: true }],
    ["bytes may be some", [["<0x0A>", 6]], { text: "\n", ids: [first], told: true }],
    ["an added one goes before one of text", [["ab", 4]], { text: "xab", ids: [idOf("<0x78>"), first], told: true }],
  ])("load: %s", async (_, more, { text, ids, told }) => {
    const { tokenizer, warnings } = await load(more);
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(warnings).toEqual(told ? [expect.stringContaining(`found ${JSON.stringify(more[0][0])} more than once`)] : []);
    for (const [i, [token]] of more.entries()) expect(tokenizer.tokenOf(first + i)).toBe(token);
  });

  it("may be empty", async () => {
    const { tokenizer } = await load([
      ["", 1],
      ["", 5],
      ["", 3],
    ]);
    expect(tokenizer.decode([idOf("a"), first, first + 1, first + 2])).toBe("a");
  });

  it("decode to the same text, and are special together", async () => {
    const { tokenizer } = await load([
      ["▁ab", 1],
      ["<0x41>", 6],
      ["<|bom|>", 3],
      ["<|bom|>", 5],
    ]);
    expect(tokenizer.decode([idOf("▁ab"), first, first + 1])).toBe(" ab abA");
    const boms = [first + 2, first + 3, idOf("<|bom|>")];
    expect(tokenizer.decode(boms)).toBe("<|bom|><|bom|><|bom|>");
    expect(tokenizer.decode([idOf("a"), ...boms], { skipSpecialTokens: true })).toBe("a");
  });
});

describe("an id that no token has", () => {
  it.each([
    ["padding", -1, undefined],
    ["padding", 2 ** 32 - 1, undefined],
    ["padding", first, first],
    ["padding", 100_000, 100_000],
    ["unknown", first, first],
    ["eot", first, first],
    ["eom", 2 ** 31, 2 ** 31],
    ["seperator", first, first],
    ["mask", -7, -7],
    ["bos", -1, undefined],
    ["eos", 2 ** 32 - 1, undefined],
  ])("as %s is passed over, and told of if it is no spelling of none", async (name, id, told) => {
    const { tokenizer, warnings } = await load([], { [`${name}_token_id`]: id });
    expect(tokenizer.encode("ab")).toEqual([idOf("ab")]);
    const message = `tokenizer.ggml.${name}_token_id: expected an id below ${first}, found ${told}; passed over`;
    expect(warnings).toEqual(told === undefined ? [] : [expect.stringContaining(message)]);
  });

  it("as the begin or the end of a text is an error: prompts and answers depend on it", async () => {
    for (const name of ["bos", "eos"])
      await expect(load([], { [`${name}_token_id`]: first })).rejects.toMatchObject({
        code: "TOKENIZER",
        message: expect.stringContaining(`tokenizer.ggml.${name}_token_id: expected an id below ${first}, found ${first}`),
      });
  });
});
