// Documents in the order of how probable they make a query.

import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Json, posted } from "../test/requests.ts";
import { type AppOptions, createApp, Service } from "./index.ts";
import { rerankAnswer } from "./schemas/answers.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

function asks(options: AppOptions = {}, of: JambaModel = model) {
  const app = createApp(new Service(of, "tiny", options));
  return (body: object, path = "/v1/rerank") => app.request(path, posted(body));
}
async function rerank(body: object): Promise<Json> {
  const response = await asks()(body);
  return rerankAnswer.parse(await response.json());
}
const indexes = ({ results }: Json): number[] => results.map(({ index }: Json) => index);

const documents = [
  "Mia has a red kite. It flies over the hill.",
  "The fox ran to the river and drank water.",
  "Tom and Omar built a boat from wood.",
  "The owl can sing. It sings at night in the tree.",
  "Lily found a blue hat in the box.",
  "Paris is the capital of France.",
];

/** What stands before the query, as the model's template has it. */
const placeOf = (document: string) => {
  const text = model.tokenizer.renderChat([
    { role: "system", content: document },
    { role: "user", content: "Who?" },
  ]);
  return model.tokenizer.encode(text.slice(0, text.lastIndexOf(" Who?")), { addBos: true });
};

test("the score is the logistic of what a document adds to the mean log probability of the query's tokens", async () => {
  const query = "Who has the red kite?";
  const asked = model.tokenizer.encode(` ${query}`);
  const mean = async (document: string) => (await model.score(placeOf(document), asked)).logprob / asked.length;
  const base = await mean("");
  const expected = await Promise.all(documents.map(async (one) => 1 / (1 + Math.exp(base - (await mean(one))))));
  const { results, usage, object } = await rerank({ query, documents });
  expect([object, results.length]).toEqual(["list", documents.length]);
  for (const { index, relevance_score } of results) expect(relevance_score).toBeCloseTo(expected[index], 5);
  const order = expected.map((score, index) => ({ score, index })).sort((a, b) => b.score - a.score);
  expect(indexes({ results })).toEqual(order.map(({ index }) => index));
  const tokens = documents.reduce((sum, one) => sum + placeOf(one).length + asked.length, 0);
  expect(usage).toEqual({ prompt_tokens: tokens, total_tokens: tokens });
});

test.each(["all of it", "its first five words"])("a document comes first for a query that is %s", async (what) => {
  for (const [at, document] of documents.entries()) {
    const words = document.split(" ");
    const query = words.slice(0, what === "all of it" ? undefined : 5).join(" ");
    expect([query, indexes(await rerank({ query, documents }))[0]]).toEqual([query, at]);
  }
});

test("in whatever order and beside whatever else, a document has its score; an empty one tells nothing", async () => {
  const query = "Where did the fox run?";
  const scores = async (list: readonly string[]) => {
    const { results } = await rerank({ query, documents: list });
    return new Map<string, number>(results.map(({ index, relevance_score }: Json) => [list[index], relevance_score]));
  };
  const all = await scores([...documents, ""]);
  expect(all.get("")).toBe(0.5);
  const reversed = await scores(documents.toReversed());
  for (const document of documents) {
    expect(reversed.get(document)).toBeCloseTo(all.get(document)!, 5);
    expect((await scores([document])).get(document)).toBeCloseTo(all.get(document)!, 5);
  }
});

test("what documents have in common, and equal ones, are read once", async () => {
  const header = "This is a page of the big book of stories that Mia and her friends read in the garden when it is warm. ".repeat(4);
  const list = documents.slice(0, 4).map((one) => header + one);
  const query = "Who has the red kite?";
  const count = async (body: object): Promise<[number, Json]> => {
    const before = model.steps().tokens;
    const found = await rerank({ query, ...body });
    return [model.steps().tokens - before, found];
  };
  const [one] = await count({ documents: list.slice(0, 1) });
  const [four, found] = await count({ documents: list });
  const [again, repeated] = await count({ documents: [...list, ...list] });
  expect(four).toBeLessThan(1.5 * one);
  expect(again).toBe(four);
  expect(new Set(indexes(repeated)).size).toBe(8);
  for (const { index, relevance_score } of found.results) {
    const alone = await rerank({ query, documents: [list[index]] });
    expect(relevance_score).toBeCloseTo(alone.results[0].relevance_score, 4);
  }
});

describe("the request", () => {
  test("top_n cuts, return_documents gives texts back, {text} is as good as a text", async () => {
    const query = "Who has the red kite?";
    const all = indexes(await rerank({ query, documents }));
    const { results } = await rerank({
      query: `  ${query}\n`,
      documents: documents.map((text) => ({ text })),
      top_n: 2,
      return_documents: true,
    });
    expect(results).toEqual(
      all.slice(0, 2).map((index) => ({ index, relevance_score: expect.any(Number), document: { text: documents[index] } })),
    );
    expect(indexes(await rerank({ query, documents, top_n: 100 }))).toEqual(all);
    for (const path of ["/rerank", "/reranking", "/v1/reranking", "/v2/rerank"])
      expect([path, indexes(await (await asks()({ query, documents }, path)).json())]).toEqual([path, all]);
  });

  test.each<[body: object, param: string]>([
    [{ documents }, "query"],
    [{ query: "", documents }, "query"],
    [{ query: " \n", documents }, "query"],
    [{ query: 5, documents }, "query"],
    [{ query: "a" }, "documents"],
    [{ query: "a", documents: "a" }, "documents"],
    [{ query: "a", documents: [] }, "documents"],
    [{ query: "a", documents: Array(1001).fill("a") }, "documents"],
    [{ query: "a", documents: ["a", 5] }, "documents[1]"],
    [{ query: "a", documents: [{ title: "a" }] }, "documents[0].text"],
    [{ query: "a", documents, top_n: 0 }, "top_n"],
    [{ query: "a", documents, return_documents: "yes" }, "return_documents"],
  ])("%j is refused with the field's name", async (body, param) => {
    const response = await asks()(body);
    expect([response.status, ((await response.json()) as Json).error.param]).toEqual([400, param]);
  });

  test("a document that is longer than the context is told, a client that waits too long too, and nothing stays", async () => {
    await using small = await loadModel("tiny", { contextLength: 64 });
    const response = await asks({}, small)({ query: "a", documents: ["fox", "fox ".repeat(100)] });
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: { code: "context_length_exceeded", param: "documents" } },
    ]);
    const late = await asks({ requestTimeoutMs: 100 })({
      query: "fox",
      documents: Array.from({ length: 50 }, (_, i) => `${i} `.repeat(300)),
    });
    expect([late.status, ((await late.json()) as Json).error.code]).toEqual([503, "timeout"]);
    await expect.poll(() => model.calls()).toEqual({ running: 0, waiting: 0 });
    for (const one of [small, model]) expect(one.inUse()).toEqual({ slots: 0, pages: 0 });
  });
});
