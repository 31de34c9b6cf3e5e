// How well documents answer a query, without a model that was trained for it: by how probable they make the query. Knows no HTTP.

import type { JambaModel } from "jamba";
import type { ReadFor } from "./service.ts";

/** Tokens: a beginning that documents share is read once if it is this long; a shorter one is read as soon as shared. */
const worthSharing = 64;

export interface Relevance {
  /** Of each document, in (0, 1): 0.5 where it tells nothing of the query, more where it makes the query more probable. */
  readonly scores: readonly number[];
  /** Of all documents, each with the query. */
  readonly promptTokens: number;
}

/**
 * Query likelihood (Ponte and Croft 1998): a document is instructions, the query is what somebody says who was given them. The score is
 * the logistic function of the mean log probability of the query's tokens, less what it is without a document: longer queries are no
 * worse, and one query's documents are in the order of its probability. Documents that are the same are read once.
 * @throws as `JambaModel.score`
 */
export async function relevanceOf(model: JambaModel, query: string, documents: readonly string[], options: ReadFor): Promise<Relevance> {
  const { signal } = options;
  const without = await placeOf(model, "", signal);
  const asked = await model.tokenizer.encodeAsync(without.space + query, { signal });
  const texts = [...new Set(documents)];
  const places: (readonly number[])[] = [];
  for (const text of texts) places.push((await placeOf(model, text, signal)).ids);
  const [[base], sums] = [await logprobsAfter(model, [without.ids], asked, options), await logprobsAfter(model, places, asked, options)];
  const scoreOf = (i: number) => logistic((sums[i] - base) / asked.length);
  const byText = new Map(texts.map((text, i) => [text, { score: scoreOf(i), tokens: places[i].length }]));
  const found = documents.map((text) => byText.get(text)!);
  return {
    scores: found.map(({ score }) => score),
    promptTokens: found.reduce((sum, { tokens }) => sum + tokens + asked.length, 0),
  };
}

/** Stands for the query, in no text that anybody writes. */
const mark = "\uE000\uE001\uE000";

/** What the model reads before a query, in its chat template, or as plain text where it has none; and the space that the query begins with. */
async function placeOf(
  { tokenizer }: JambaModel,
  document: string,
  signal: AbortSignal | undefined,
): Promise<{ ids: readonly number[]; space: string }> {
  const messages = [
    { role: "system" as const, content: document },
    { role: "user" as const, content: mark },
  ];
  const hasTemplate = tokenizer.chatTemplate !== undefined;
  const whole = hasTemplate ? await tokenizer.renderChatAsync(messages, {}, { signal }) : `${document}\n\n${mark}`;
  const before = whole.slice(0, whole.lastIndexOf(mark));
  const text = hasTemplate ? before.trimEnd() : before;
  return { ids: await tokenizer.encodeAsync(text, { addBos: tokenizer.addBos, signal }), space: before.slice(text.length) };
}

/** Scores that are begun at a time: each takes the process a moment. */
const mostBegun = 64;

/** The sums of the log probabilities of `asked` after each of `all`. */
async function logprobsAfter(
  model: JambaModel,
  all: readonly (readonly number[])[],
  asked: readonly number[],
  { tenant, signal }: ReadFor,
): Promise<number[]> {
  const shared = sharedLength(all);
  if (shared < worthSharing || all.length === 1) {
    const request = crypto.randomUUID();
    const found: number[] = [];
    while (found.length < all.length) {
      // A signal for each: node warns of a leak where one has many listeners.
      const some = all
        .slice(found.length, found.length + mostBegun)
        .map((ids) => model.score(ids, asked, { tenant, request, signal: AbortSignal.any([signal]) }));
      for (const one of await Promise.allSettled(some)) if (one.status === "rejected") throw one.reason;
      found.push(...(await Promise.all(some)).map(({ logprob }) => logprob));
    }
    return found;
  }
  const rests = all.map((ids) => [...ids.slice(shared), ...asked]);
  const scores = await model.score(all[0].slice(0, shared), rests, { tenant, signal });
  return scores.map(({ tokens }) => tokens.slice(-asked.length).reduce((sum, { logprob }) => sum + logprob, 0));
}

/** Tokens that all begin with. */
function sharedLength([first, ...others]: readonly (readonly number[])[]): number {
  return others.reduce((shared, ids) => {
    const at = ids.findIndex((id, i) => i >= shared || id !== first[i]);
    return at < 0 ? Math.min(shared, ids.length) : at;
  }, first.length);
}

/** Short of its bounds, which rounding would reach. */
function logistic(x: number): number {
  return Math.min(Math.max(1 / (1 + Math.exp(-x)), Number.EPSILON), 1 - Number.EPSILON);
}
