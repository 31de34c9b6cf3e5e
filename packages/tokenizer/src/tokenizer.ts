// Text to ids and back, on @huggingface/tokenizers.

import { Tokenizer as Library } from "@huggingface/tokenizers";
import { TokenizerError } from "@jamba/core";
import { type ChatOptions, renderChat } from "./chat.ts";
import type { Message } from "./messages.ts";
import { StreamDecoder } from "./stream-decoder.ts";
import { checkTokenizerJson, isObject, type Json, type TokenizerFile } from "./tokenizer-json.ts";

export interface Tokenizer {
  /** One more than the largest id. */
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  /** Whether a plain text should begin with `bosId`; chat templates write it themselves. */
  readonly addBos: boolean;
  /** The file's own Jinja template. */
  readonly chatTemplate: string | undefined;
  /** Special tokens spelled out in `text` become their ids. `addBos` never doubles one that the text begins with. */
  encode(text: string, options?: { addBos?: boolean }): number[];
  /** What a `StreamDecoder` gives for `ids`. @throws TokenizerError for an id outside the vocabulary */
  decode(ids: Iterable<number>, options?: { skipSpecialTokens?: boolean }): string;
  idOf(token: string): number | undefined;
  /** As it stands in the vocabulary: a space is `▁`, a byte `<0x0A>`. */
  tokenOf(id: number): string | undefined;
  isSpecial(id: number): boolean;
  /** Text of one token that is not a byte; the byte of one that is. @throws TokenizerError */
  pieceOf(id: number): string | number;
  /** `messages` as the model reads them, by the file's template or else the built-in one. */
  renderChat(messages: readonly Message[], options?: Omit<ChatOptions, "tokenizer">): string;
}

/**
 * @param json tokenizer.json, parsed
 * @param config tokenizer_config.json, parsed: special tokens and the chat template
 * @throws TokenizerError for a file that is damaged or not a SentencePiece-like BPE
 */
export function loadTokenizer(json: unknown, config: unknown = {}): Tokenizer {
  const file = checkTokenizerJson(json);
  if (!isObject(config))
    throw new TokenizerError(`tokenizer_config.json: expected a JSON object, found ${JSON.stringify(config)?.slice(0, 80)}`);
  // The library wants every part named; a file may leave out those that do nothing.
  const whole = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    decoder: null,
    ...file.json,
    // Ours adds bos itself.
    post_processor: null,
  };
  const library = guard("tokenizer.json", () => new Library(whole, { clean_up_tokenization_spaces: false }));
  return makeTokenizer(library, file, config as Json);
}

function makeTokenizer(library: Library, { tokens, special, json }: TokenizerFile, config: Json): Tokenizer {
  const ids = new Map<string, number>([...tokens].map(([id, token]) => [token, id]));
  const bosToken = tokenText(config, "bos_token");
  const bosId = bosToken === undefined ? undefined : ids.get(bosToken);
  const pieces = new Map<number, string | number>();
  const hasBytes = (json.model as Json).byte_fallback === true;
  // Some decoders treat the first token of a text in their own way; an ordinary one before it keeps `piece` clear of that.
  const anchor = ids.get("a") ?? ids.get("▁") ?? tokens.keys().next().value;
  const decodeSome = (some: number[]) => guard("decode", () => library.decode(some, { clean_up_tokenization_spaces: false }));

  const tokenizer: Tokenizer = {
    vocabSize: Math.max(-1, ...maxOf(tokens.keys())) + 1,
    bosId,
    eosId: ids.get(tokenText(config, "eos_token") ?? ""),
    addBos: config.add_bos_token !== false && bosId !== undefined,
    chatTemplate: templateOf(config, false),

    encode(text, { addBos = false } = {}) {
      if (typeof text !== "string") throw new TokenizerError(`encode: expected a text, found ${typeof text}`);
      const encoded = text === "" ? [] : guard("encode", () => library.encode(text, { add_special_tokens: false }).ids);
      const lost = encoded.findIndex((id) => id === undefined || id === null);
      if (lost >= 0)
        throw new TokenizerError(
          "encode: expected an id for every part of the text, found one without; the vocabulary has neither bytes nor an unknown token for it",
        );
      return addBos && bosId !== undefined && encoded[0] !== bosId ? [bosId, ...encoded] : encoded;
    },

    decode(ids, { skipSpecialTokens = false } = {}) {
      const decoder = new StreamDecoder(tokenizer, { skipSpecialTokens });
      let text = "";
      for (const id of ids) text += decoder.push(id);
      return text + decoder.end();
    },

    idOf: (token) => ids.get(token),
    tokenOf: (id) => tokens.get(id),
    isSpecial: (id) => special.has(id),

    pieceOf(id) {
      const known = pieces.get(id);
      if (known !== undefined) return known;
      const token = tokens.get(id);
      if (token === undefined)
        throw new TokenizerError(`decode: expected an id of the vocabulary, [0, ${tokenizer.vocabSize}), found ${id}`);
      const byte = hasBytes && !special.has(id) ? /^<0x([0-9A-F]{2})>$/.exec(token) : null;
      let piece: string | number = token;
      if (byte) piece = Number.parseInt(byte[1], 16);
      else if (!special.has(id)) piece = decodeSome([anchor!, id]).slice(decodeSome([anchor!]).length);
      pieces.set(id, piece);
      return piece;
    },

    renderChat: (messages, options = {}) =>
      renderChat(messages, {
        template: templateOf(config, options.tools !== undefined),
        bosToken,
        eosToken: tokenText(config, "eos_token"),
        ...options,
        tokenizer,
      }),
  };
  return tokenizer;
}

/** A config names a special token as text or as an object that holds it. */
function tokenText(config: Json, key: string): string | undefined {
  const found = config[key];
  const text = isObject(found) ? (found as Json).content : found;
  return typeof text === "string" ? text : undefined;
}

/** One template, or a list of named ones, of which "tool_use" serves requests with tools. */
function templateOf(config: Json, withTools: boolean): string | undefined {
  const found = config.chat_template;
  if (!Array.isArray(found)) return typeof found === "string" ? found : undefined;
  const named = (name: string) =>
    found.find((entry) => isObject(entry) && entry.name === name && typeof entry.template === "string")?.template;
  return (withTools && named("tool_use")) || named("default");
}

function maxOf(ids: Iterable<number>): [number] | [] {
  let max: number | undefined;
  for (const id of ids) max = Math.max(max ?? id, id);
  return max === undefined ? [] : [max];
}

/** What the library throws has no type; ours has. */
function guard<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    if (cause instanceof TokenizerError) throw cause;
    throw new TokenizerError(
      `${what}: expected a tokenizer that works, found ${cause instanceof Error ? cause.message : cause}; the file is damaged or of a kind that is not supported`,
      { cause },
    );
  }
}
