// POST /v1/rerank, in the shape of Jina's and Cohere's.

import { sendJson } from "../json.ts";
import { relevanceOf } from "../relevance.ts";
import { withBody } from "../route.ts";
import { rerankAnswer } from "../schemas/answers.ts";
import { rerankRequest } from "../schemas/requests.ts";
import { newId } from "../service.ts";
import { fieldsOf } from "../tools.ts";

export const rerankRoute = withBody({
  method: "post",
  paths: ["/v1/rerank", "/rerank", "/v1/reranking", "/reranking", "/v2/rerank"],
  summary: "Documents in the order of how probable they make a query. Jamba was not trained as a reranker.",
  request: rerankRequest,
  returns: "Documents by their index, best first; 0.5 is the score of one that tells nothing of the query",
  answer: rerankAnswer,
  async handle({ service, body, c, exchange }) {
    exchange.fieldOf = fieldsOf({ messages: "documents" }, { places: [] });
    const texts = body.documents.map((document) => (typeof document === "string" ? document : document.text));
    const query = body.query.trim();
    const { scores, promptTokens } = await service.read((model, options) => relevanceOf(model, query, texts, options), exchange);
    Object.assign(exchange.facts, { promptTokens });
    const results = scores
      .map((relevance_score, index) => ({ index, relevance_score, ...(body.return_documents && { document: { text: texts[index] } }) }))
      .sort((a, b) => b.relevance_score - a.relevance_score)
      .slice(0, body.top_n);
    return sendJson(c, {
      id: newId("rerank-"),
      object: "list",
      model: service.id,
      results,
      usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
    });
  },
});
