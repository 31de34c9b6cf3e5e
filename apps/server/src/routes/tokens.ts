// What the tokenizer does, by itself: /tokenize, /detokenize, /apply-template, as llama.cpp's server and vLLM's have them.

import { lazily, sendJson } from "../json.ts";
import { type Route, withBody } from "../route.ts";
import { detokenizeAnswer, templateAnswer, tokenizeAnswer, tokenizerInfoAnswer } from "../schemas/answers.ts";
import { applyTemplateRequest, detokenizeRequest, tokenizeRequest } from "../schemas/requests.ts";
import { readTools } from "../tools.ts";
import { templateOf, tokenText, turnOf } from "../wire.ts";
import { functionOf, toMessage } from "./chat.ts";

export const tokenRoutes: readonly Route[] = [
  withBody({
    method: "post",
    paths: ["/tokenize"],
    summary: "Tokens of a text",
    request: tokenizeRequest,
    returns: "Token ids, or with `with_pieces` each with its text; how many, and how many a conversation may hold",
    answer: tokenizeAnswer,
    async handle({ service: { model }, body, c, exchange: { left } }) {
      const { content, addBos, withPieces } = body;
      const ids = await model.tokenizer.encodeAsync(content, { addBos: addBos && model.tokenizer.addBos, signal: left.signal });
      const tokens = withPieces ? lazily(ids, (id) => ({ id, piece: pieceOf(tokenText(model, id)) })) : ids;
      return sendJson(c, { tokens, count: ids.length, max_model_len: model.contextLength });
    },
  }),
  withBody({
    method: "post",
    paths: ["/detokenize"],
    summary: "The text of tokens",
    request: detokenizeRequest,
    returns: "The text, by both servers' names",
    answer: detokenizeAnswer,
    async handle({ service: { model }, body, c, exchange: { left } }) {
      const content = await model.tokenizer.decodeAsync(body.tokens, { signal: left.signal });
      return sendJson(c, { content, prompt: content });
    },
  }),
  {
    method: "get",
    paths: ["/tokenizer_info"],
    summary: "The tokens that stand around texts, and the chat template",
    returns: "Fields of a tokenizer_config.json",
    answer: tokenizerInfoAnswer,
    handle({ service: { model }, c }) {
      const { bosId, eosId, addBos, chatTemplate } = model.tokenizer;
      const tokenOf = (id: number | undefined) => (id === undefined ? null : (model.tokenizer.tokenOf(id) ?? null));
      return c.json({
        bos_token: tokenOf(bosId),
        eos_token: tokenOf(eosId),
        add_bos_token: addBos,
        chat_template: chatTemplate ?? null,
        model_max_length: model.contextLength,
      });
    },
  },
  withBody({
    method: "post",
    paths: ["/apply-template"],
    summary: "The text that the model reads for messages",
    request: applyTemplateRequest,
    returns: "The text",
    answer: templateAnswer,
    async handle({ service: { model }, body: { messages, tools: all, tool_choice, ...rest }, c, exchange: { notes, left } }) {
      // A model that may not call anything is shown nothing to call.
      const { tools } = readTools(tool_choice === "none" ? undefined : all, functionOf, notes);
      const given = { tools, ...templateOf(rest), ...turnOf(rest) };
      return sendJson(c, { prompt: await model.tokenizer.renderChatAsync(messages.map(toMessage), given, { signal: left.signal }) });
    },
  }),
];

/** Bytes where a token is a part of a character only, as llama.cpp has it. */
function pieceOf({ token, bytes }: ReturnType<typeof tokenText>): string | number[] {
  return token.includes("\uFFFD") ? bytes : token;
}
