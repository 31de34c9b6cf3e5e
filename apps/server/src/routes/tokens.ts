// What the tokenizer does, by itself: /tokenize, /detokenize, /apply-template.

import { withBody } from "../route.ts";
import { detokenizeAnswer, templateAnswer, tokenizeAnswer } from "../schemas/answers.ts";
import { applyTemplateRequest, detokenizeRequest, tokenizeRequest } from "../schemas/requests.ts";
import { readTools } from "../tools.ts";
import { templateOf, tokenText, turnOf } from "../wire.ts";
import { functionOf, toMessage } from "./chat.ts";

export const tokenRoutes = [
  withBody({
    method: "post",
    paths: ["/tokenize"],
    summary: "Tokens of a text",
    request: tokenizeRequest,
    returns: "Token ids, or with `with_pieces` each with its text",
    answer: tokenizeAnswer,
    handle({ service: { model }, body, c }) {
      const { content, add_special: addBos, with_pieces: withPieces } = body;
      const ids = model.tokenizer.encode(content, { addBos: addBos && model.tokenizer.addBos });
      return c.json({ tokens: withPieces ? ids.map((id) => ({ id, piece: pieceOf(tokenText(model, id)) })) : ids });
    },
  }),
  withBody({
    method: "post",
    paths: ["/detokenize"],
    summary: "The text of tokens",
    request: detokenizeRequest,
    returns: "The text",
    answer: detokenizeAnswer,
    handle: ({ service: { model }, body, c }) => c.json({ content: model.tokenizer.decode(body.tokens) }),
  }),
  withBody({
    method: "post",
    paths: ["/apply-template"],
    summary: "The text that the model reads for messages",
    request: applyTemplateRequest,
    returns: "The text",
    answer: templateAnswer,
    handle: ({ service: { model }, body: { messages, tools: all, ...rest }, c, exchange: { notes } }) => {
      const { tools } = readTools(all, functionOf, notes);
      return c.json({ prompt: model.tokenizer.renderChat(messages.map(toMessage), { tools, ...templateOf(rest), ...turnOf(rest) }) });
    },
  }),
];

/** Bytes where a token is a part of a character only, as llama.cpp has it. */
function pieceOf({ token, bytes }: ReturnType<typeof tokenText>): string | number[] {
  return token.includes("\uFFFD") ? bytes : token;
}
