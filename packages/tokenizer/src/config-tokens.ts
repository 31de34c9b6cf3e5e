// Tokens that tokenizer_config.json adds to those of tokenizer.json: transformers reads both, and so do templates.

import { isObject, type Json } from "./json.ts";

const named = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"];

/**
 * `json` with added tokens that only `config` has. Without them a control token that is a mere word of the vocabulary would come apart
 * in every prompt.
 */
export function withConfigTokens(json: Json, config: Json): Json {
  const vocab = isObject(json.model) && isObject(json.model.vocab) ? json.model.vocab : {};
  const given: readonly unknown[] = Array.isArray(json.added_tokens) ? json.added_tokens : [];
  const known = new Set(given.map((token) => (isObject(token) ? token.content : undefined)));
  const used = new Set([...Object.values(vocab), ...given.map((token) => (isObject(token) ? token.id : undefined))]);
  const more: Json[] = [];
  const add = (content: unknown, id: unknown, flags: Json) => {
    if (typeof content !== "string" || content === "" || known.has(content) || flags.single_word === true) return;
    known.add(content);
    // A token has the id that the vocabulary gives it; another one's id can't be meant.
    const own = Object.hasOwn(vocab, content) ? vocab[content] : used.has(id) ? undefined : id;
    if (own !== undefined) more.push({ ...flags, content, id: own });
  };
  for (const [id, token] of Object.entries(isObject(config.added_tokens_decoder) ? config.added_tokens_decoder : {}))
    if (isObject(token) && /^\d+$/.test(id)) add(token.content, Number(id), token);
  const others = [config.additional_special_tokens, config.extra_special_tokens].map((list) =>
    isObject(list) ? Object.values(list) : list,
  );
  for (const token of [...named.map((key) => config[key]), ...others.flat()]) {
    const content = isObject(token) ? token.content : token;
    // A word that stands for padding stays a word.
    if (typeof content === "string" && /^[<[].+[>\]]$/su.test(content)) add(content, undefined, { special: true, normalized: false });
  }
  return more.length === 0 ? json : { ...json, added_tokens: [...given, ...more] };
}

/** `given` and the special tokens that a config names, by its keys: templates read both as variables, as in transformers. */
export function withSpecialTokens(config: Json, given: Json | undefined): Json {
  if (given && !isObject(given)) return given; // refused where variables are
  const textOf = (token: unknown) => (isObject(token) ? token.content : token);
  const each = named.map((key) => [key, textOf(config[key])]).filter(([, text]) => typeof text === "string");
  const { additional_special_tokens: more } = config;
  return { ...Object.fromEntries(each), ...(Array.isArray(more) && { additional_special_tokens: more.map(textOf) }), ...given };
}
