// POST /v1/embeddings.

import type { JambaModel } from "jamba";
import type { z } from "zod";
import { badRequest } from "../errors.ts";
import { lazily, sendJson } from "../json.ts";
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
    const { signal } = exchange.left;
    const texts = await textsOf(body.input, model, signal);
    const { dModel } = model.config;
    if (body.dimensions !== undefined && body.dimensions !== dModel)
      throw badRequest("dimensions", `expected ${dModel}, this model's own, found ${body.dimensions}`);
    let promptTokens = 0;
    for (const text of texts) promptTokens += (await model.tokenizer.encodeAsync(text, { addBos: model.tokenizer.addBos, signal })).length;
    const values = (await service.read((model, options) => model.embed(texts, options), exchange)).data as Float32Array;
    Object.assign(exchange.facts, { promptTokens });
    const embeddingOf = (index: number) => {
      const row = values.slice(index * dModel, (index + 1) * dModel);
      return body.encoding_format === "base64" ? Buffer.from(row.buffer).toString("base64") : [...row];
    };
    return sendJson(c, {
      object: "list",
      data: lazily([...texts.keys()], (index) => ({ object: "embedding", index, embedding: embeddingOf(index) })),
      model: service.id,
      usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
    });
  },
});

/** Some clients count tokens by themselves and send them. */
async function textsOf(
  input: z.output<typeof embeddingRequest>["input"],
  { tokenizer }: JambaModel,
  signal: AbortSignal,
): Promise<string[]> {
  const list = typeof input === "string" || typeof input[0] === "number" ? [input as string | number[]] : (input as (string | number[])[]);
  const texts: string[] = [];
  for (const one of list) texts.push(typeof one === "string" ? one : await tokenizer.decodeAsync(one, { signal }));
  return texts;
}
