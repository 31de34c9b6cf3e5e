// Text to ids and back. @huggingface/tokenizers normalizes and splits; the rest is ours.

import { atOnce, inSlices, TokenizerError } from "@jamba/core";
import { type ChatOptions, renderChat } from "./chat.ts";
import { renderChatAsync, renderQuickly } from "./chat-async.ts";
import { chooseTemplate, readTemplates } from "./chat-templates.ts";
import type { DecoderRules } from "./components.ts";
import { withConfigTokens, withSpecialTokens } from "./config-tokens.ts";
import { type Encoder, makeEncoder } from "./encoder.ts";
import { isObject, type Json, show } from "./json.ts";
import type { Message } from "./messages.ts";
import { StreamDecoder } from "./stream-decoder.ts";
import { checkTokenizerJson, type TokenizerFile } from "./tokenizer-json.ts";

export interface Tokenizer {
  /** One more than the largest id. */
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  /** Whether a plain text should begin with `bosId`; chat templates write it themselves. */
  readonly addBos: boolean;
  /** The file's own Jinja template; of several, the default. */
  readonly chatTemplate: string | undefined;
  /** What decoding drops from the front of a text. */
  readonly lead: DecoderRules["lead"];
  /** Special tokens spelled out in `text` become their ids. `addBos` never doubles one that the text begins with. @throws TokenizerError */
  encode(text: string, options?: EncodeOptions): number[];
  /** The same, with a turn for others every few milliseconds: a long text takes a second. @throws as `encode`, the signal's reason */
  encodeAsync(text: string, options?: EncodeOptions & { signal?: AbortSignal }): Promise<number[]>;
  /** What a `StreamDecoder` gives for `ids`. @throws TokenizerError for an id outside the vocabulary */
  decode(ids: Iterable<number>, options?: DecodeOptions): string;
  /** The same, with turns for others as in `encodeAsync`. @throws as `decode`, the signal's reason */
  decodeAsync(ids: Iterable<number>, options?: DecodeOptions & { signal?: AbortSignal }): Promise<string>;
  idOf(token: string): number | undefined;
  /** As it stands in the vocabulary: a space is `▁`, a byte `<0x0A>`. */
  tokenOf(id: number): string | undefined;
  isSpecial(id: number): boolean;
  /** Text of one token that is not a byte; the byte of one that is. @throws TokenizerError */
  pieceOf(id: number): string | number;
  /**
   * `messages` as the model reads them, by the file's template or else the built-in one. Of several templates that is the one named
   * tool_use where there are tools, else the default; `template` may name another.
   * @throws as the function `renderChat`
   */
  renderChat(messages: readonly Message[], options?: Omit<ChatOptions, "tokenizer">): string;
  /** The same, on a worker where it takes more than some milliseconds. @throws as the function `renderChatAsync` */
  renderChatAsync(messages: readonly Message[], options?: Omit<ChatOptions, "tokenizer">, more?: { signal?: AbortSignal }): Promise<string>;
  /** The same where it takes no more than some milliseconds, else undefined. @throws as the function `renderChat` */
  renderQuickly(messages: readonly Message[], options?: Omit<ChatOptions, "tokenizer">): string | undefined;
}

/** Decoded between two yields. */
const sliceIds = 2048;

export interface EncodeOptions {
  addBos?: boolean;
}

export interface DecodeOptions {
  skipSpecialTokens?: boolean;
}

export interface TokenizerOptions {
  /** The text of chat_template.jinja, where newer checkpoints keep the template that older ones have in tokenizer_config.json. */
  readonly chatTemplate?: string;
}

/**
 * @param json tokenizer.json, parsed
 * @param config tokenizer_config.json, parsed: special tokens and the chat template
 * @throws TokenizerError for a file that is damaged or not a SentencePiece-like BPE
 */
export function loadTokenizer(json: unknown, config: unknown = {}, { chatTemplate }: TokenizerOptions = {}): Tokenizer {
  if (!isObject(config)) throw new TokenizerError(`tokenizer_config.json: expected a JSON object, found ${show(config)}`);
  const file = checkTokenizerJson(isObject(json) ? withConfigTokens(json, config) : json);
  return makeTokenizer(
    guard("tokenizer.json", () => makeEncoder(file)),
    file,
    chatTemplate === undefined ? config : { ...config, chat_template: chatTemplate },
  );
}

function makeTokenizer(encodeText: Encoder, file: TokenizerFile, config: Json): Tokenizer {
  const { tokenOf, idOf, special, decoder } = file;
  const [bosToken, eosToken] = [tokenText(config, "bos_token", idOf), tokenText(config, "eos_token", idOf)];
  const bosId = idOf.get(bosToken ?? "");
  const templates = readTemplates(config);
  const pieces = new Map<number, string | number>();

  function* encoding(text: string, { addBos = false }: EncodeOptions = {}): Generator<void, number[]> {
    if (typeof text !== "string") throw new TokenizerError(`encode: expected a text, found ${show(text)}`);
    if (addBos && bosId === undefined)
      throw new TokenizerError("encode: addBos expects a bos_token, found none in tokenizer_config.json; pass its id in front yourself");
    const ids = yield* encodeText(text);
    if (addBos && ids[0] !== bosId) ids.unshift(bosId!);
    return ids;
  }

  function* decoding(ids: Iterable<number>, { skipSpecialTokens = false }: DecodeOptions = {}): Generator<void, string> {
    if (typeof ids?.[Symbol.iterator] !== "function") throw new TokenizerError(`decode: expected an iterable of ids, found ${show(ids)}`);
    const stream = new StreamDecoder(tokenizer, { skipSpecialTokens });
    let text = "";
    let count = 0;
    for (const id of ids) {
      text += stream.push(id);
      if (++count % sliceIds === 0) yield;
    }
    return text + stream.end();
  }

  function chatOptions(options: Omit<ChatOptions, "tokenizer"> = {}): ChatOptions {
    const { form, tools, template: asked, variables } = options;
    const template = form === undefined ? chooseTemplate(templates, asked, (tools?.length ?? 0) > 0) : asked;
    return { bosToken, eosToken, ...options, template, variables: withSpecialTokens(config, variables), tokenizer };
  }

  const tokenizer: Tokenizer = {
    vocabSize: tokenOf.length,
    bosId,
    eosId: idOf.get(eosToken ?? ""),
    addBos: config.add_bos_token !== false && bosId !== undefined,
    chatTemplate: typeof templates === "string" ? templates : templates?.get("default"),
    lead: decoder.lead,

    encode: (text, options) => guard("encode", () => atOnce(encoding(text, options))),
    encodeAsync: (text, { signal, ...options } = {}) => guardAsync("encode", signal, () => inSlices(encoding(text, options), signal)),
    decode: (ids, options) => atOnce(decoding(ids, options)),
    decodeAsync: async (ids, { signal, ...options } = {}) => inSlices(decoding(ids, options), signal),

    idOf: (token) => idOf.get(token),
    tokenOf: (id) => tokenOf[id],
    isSpecial: (id) => special.has(id),

    pieceOf(id) {
      const known = pieces.get(id);
      if (known !== undefined) return known;
      // An index may be spelt as text, an id may not.
      const token = typeof id === "number" ? tokenOf[id] : undefined;
      if (token === undefined)
        throw new TokenizerError(
          `decode: expected an id of the vocabulary, in [0, ${tokenizer.vocabSize}), found ${show(id)}; is it from another tokenizer?`,
        );
      const text = decoder.tokenText(token);
      const byte = decoder.bytes && !special.has(id) ? /^<0x([0-9A-F]{2})>$/i.exec(text) : null;
      const piece = byte ? Number.parseInt(byte[1], 16) : text;
      pieces.set(id, piece);
      return piece;
    },

    renderChat: (messages, options) => renderChat(messages, chatOptions(options)),
    renderChatAsync: async (messages, options, more) => renderChatAsync(messages, chatOptions(options), more),
    renderQuickly: (messages, options) => renderQuickly(messages, chatOptions(options)),
  };
  return tokenizer;
}

/** A config names a special token as text or as an object that holds it. */
function tokenText(config: Json, key: string, idOf: ReadonlyMap<string, number>): string | undefined {
  const found = config[key];
  const text = isObject(found) ? found.content : found;
  if (text === undefined || text === null) return undefined;
  if (typeof text !== "string" || !idOf.has(text))
    throw new TokenizerError(
      `tokenizer_config.json: ${key}: expected a token of tokenizer.json, found ${show(text)}; are the two files of one model?`,
    );
  return text;
}

/** What the library throws has no type; ours has. */
function guard<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw damaged(what, cause);
  }
}

async function guardAsync<T>(what: string, signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    throw signal?.aborted && cause === signal.reason ? cause : damaged(what, cause);
  }
}

function damaged(what: string, cause: unknown): Error {
  if (cause instanceof TokenizerError) return cause;
  const found = cause instanceof Error ? cause.message : show(cause);
  return new TokenizerError(`${what}: expected a tokenizer that works, found ${found}; the file is damaged or of an unsupported kind`, {
    cause,
  });
}
