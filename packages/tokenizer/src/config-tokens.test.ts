import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadTokenizer } from "./index.ts";

const read = (file: string) => JSON.parse(readFileSync(new URL(`../../tiny-model/${file}`, import.meta.url), "utf8"));
const [json, config] = [read("tokenizer.json"), read("tokenizer_config.json")];
const right = loadTokenizer(json, config);
const text = "<|bom|><|user|> Hi<|eom|> a <|im_end|>b";

/** tokenizer.json whose added tokens are words of the vocabulary, as some conversions leave them. */
const without = (...tokens: string[]) => ({
  ...json,
  added_tokens: json.added_tokens.filter(({ content }: { content: string }) => !tokens.includes(content)),
});
const decoderOf = (...tokens: string[]) =>
  Object.fromEntries(tokens.map((content) => [json.model.vocab[content], { content, special: true, normalized: false, lstrip: false }]));

describe("tokens that only tokenizer_config.json adds are whole in prompts, as in transformers", () => {
  test("added_tokens_decoder", () => {
    const found = loadTokenizer(without("<|bom|>", "<|eom|>"), { ...config, added_tokens_decoder: decoderOf("<|bom|>", "<|eom|>") });
    expect(found.encode(text)).toEqual(right.encode(text));
    expect(found.isSpecial(found.idOf("<|eom|>")!)).toBe(true);
    // Without it they come apart.
    expect(loadTokenizer(without("<|bom|>", "<|eom|>"), { ...config, added_tokens_decoder: undefined }).encode(text)).not.toEqual(
      right.encode(text),
    );
  });

  test("one that no vocabulary has, by its id", () => {
    const id = right.vocabSize;
    const found = loadTokenizer(json, { ...config, added_tokens_decoder: { [id]: { content: "<|im_end|>", special: true } } });
    expect(found.encode("a<|im_end|>").at(-1)).toBe(id);
    expect(found.decode([id])).toBe("<|im_end|>");
  });

  test.each<[string, object]>([
    ["eos_token", { eos_token: "<|eom|>" }],
    ["an object", { pad_token: { content: "<|eom|>", lstrip: false } }],
    ["additional_special_tokens", { additional_special_tokens: ["<|eom|>", { content: "<|bom|>" }] }],
    ["extra_special_tokens", { extra_special_tokens: { turn: "<|eom|>" } }],
  ])("named as special: %s", (_, more) => {
    expect(loadTokenizer(without("<|eom|>"), { ...config, ...more }).encode(text)).toEqual(right.encode(text));
  });

  test.each<[string, object]>([
    ["a word that stands for padding", { pad_token: "▁a" }],
    ["an id that another token has", { added_tokens_decoder: { 600: { content: "<|im_end|>", special: true } } }],
    ["what is no list", { added_tokens_decoder: [1], additional_special_tokens: 7, extra_special_tokens: null }],
    ["what is no token", { added_tokens_decoder: { 9: "x", y: { content: "z" }, 2048: { content: "" } } }],
    ["one of whole words only", { added_tokens_decoder: { 2048: { content: "<|im_end|>", single_word: true } } }],
  ])("and none of %s", (_, more) => {
    expect(loadTokenizer(json, { ...config, ...more }).encode(text)).toEqual(right.encode(text));
  });
});

test("templates read the special tokens that the config names, by its keys, unless a caller says otherwise", () => {
  const more = { pad_token: { content: "<|pad|>", lstrip: false }, additional_special_tokens: ["<|bom|>", { content: "<|eom|>" }] };
  const chat_template = "{{ bos_token }} {{ pad_token }} {{ unk_token }} {{ cls_token is defined }} {{ additional_special_tokens[1] }}";
  const { renderChat } = loadTokenizer(json, { ...config, ...more, chat_template });
  expect(renderChat([])).toBe("<|startoftext|> <|pad|> <|unk|> False <|eom|>");
  expect(renderChat([], { variables: { pad_token: "P" }, bosToken: "" })).toBe(" P <|unk|> False <|eom|>");
  expect(() => renderChat([], { variables: "P" as never })).toThrow(/^variables: expected an object/);
});
