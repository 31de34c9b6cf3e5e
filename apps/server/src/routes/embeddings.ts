// POST /v1/embeddings.

import type { JambaModel } from "jamba";
import type { z } from "zod";
import { badRequest } from "../errors.ts";
import { withBody } from "../route.ts";
import { embeddingsAnswer } from "../schemas/answers.ts";
import { embeddingRequest } from "../schemas/requests.ts";

export const embeddingsRoute = withBody({
  method: "post",
  paths: ["/v1/embeddings", "/embeddings"],
  summary: "Mean-pooled hidden states of texts, as vectors of length 1. Jamba was not trained as an embedder.",
  request: embeddingRequest,
  returns: "A list of embeddings",
  answer: embeddingsAnswer,
  async handle({ service, body, c, exchange }) {
    const { model } = service;
    exchange.fieldOf = () => "input";
    const texts = textsOf(body.input, model);
    const { dModel } = model.config;
    if (body.dimensions !== undefined && body.dimensions !== dModel)
      throw badRequest("dimensions", `expected ${dModel}, this model's own, found ${body.dimensions}`);
    const promptTokens = texts.reduce((sum, text) => sum + model.tokenizer.encode(text, { addBos: model.tokenizer.addBos }).length, 0);
    const values = (await service.read((model, options) => model.embed(texts, options), exchange)).data as Float32Array;
    Object.assign(exchange.facts, { promptTokens });
    const embeddingOf = (index: number) => {
      const row = values.slice(index * dModel, (index + 1) * dModel);
      return body.encoding_format === "base64" ? Buffer.from(row.buffer).toString("base64") : [...row];
    };
    return c.json({
      object: "list",
      data: texts.map((_, index) => ({ object: "embedding", index, embedding: embeddingOf(index) })),
      model: service.id,
      usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
    });
  },
});

/** Some clients count tokens by themselves and send them. */
function textsOf(input: z.output<typeof embeddingRequest>["input"], { tokenizer }: JambaModel): string[] {
  const list = typeof input === "string" || typeof input[0] === "number" ? [input as string | number[]] : (input as (string | number[])[]);
  return list.map((one) => (typeof one === "string" ? one : tokenizer.decode(one)));
}
