// POST /v1/completions: goes on with plain texts.

import type { Part, Result } from "jamba";
import { badRequest } from "../errors.ts";
import { type Call, resultFacts, withBody } from "../route.ts";
import { type CompletionRequest, completionRequest } from "../schemas/requests.ts";
import { type Answer, newId, type Service } from "../service.ts";
import { data, done, eventStream } from "../sse.ts";
import { finishReasonOf, finite, logprobsOfText, samplingOptions, timingsOf, tokenText, usageOf } from "../wire.ts";

export const completionsRoute = withBody({
  method: "post",
  paths: ["/v1/completions", "/completions"],
  summary: "Goes on with a text",
  request: completionRequest,
  returns: "A text_completion, or with `stream` several, piece by piece",
  streams: true,
  async handle(call) {
    const { service, body, c, exchange } = call;
    service.expectModel(body.model);
    const prompts = promptsOf(body);
    const answers = startAnswers(call, prompts);
    if (body.stream) return eventStream(chunks(call, prompts, answers), call);
    for await (const _ of together(answers));
    const results = await Promise.all(answers.map((answer) => answer.result()));
    Object.assign(exchange.facts, resultFacts(results[0]));
    const n = body.n ?? 1;
    return c.json({
      ...headOf(service),
      choices: results.flatMap((result, at) =>
        (result.choices ?? [result]).map((choice, i) => ({
          text: echoOf(service, body, prompts[at]) + choice.text,
          index: at * n + i,
          logprobs: logprobsOf(service, choice),
          finish_reason: finishReasonOf(choice),
        })),
      ),
      usage: usageOf(results),
      timings: timingsOf(results[0]),
      cache_miss_reason: results[0].cacheMissReason,
    });
  },
});

type TextPrompt = string | readonly number[];

function promptsOf({ prompt, n = 1 }: CompletionRequest): readonly TextPrompt[] {
  const prompts = typeof prompt === "string" || typeof prompt[0] === "number" ? [prompt as TextPrompt] : (prompt as TextPrompt[]);
  if (prompts.length * n > 128) throw badRequest("n", `expected at most 128 answers in all, found ${prompts.length * n}`);
  return prompts;
}

function startAnswers({ service, body, exchange }: Call<CompletionRequest>, prompts: readonly TextPrompt[]): Answer[] {
  if (body.suffix) throw badRequest("suffix", "expected none: this model writes forward only", "unsupported");
  if (body.best_of !== undefined && body.best_of !== (body.n ?? 1)) throw badRequest("best_of", `expected n, which is ${body.n ?? 1}`);
  if (body.echo && body.logprobs !== undefined) throw badRequest("echo", "expected false with logprobs, which are of new tokens only");
  const options = {
    ...samplingOptions(body, service.options),
    logprobs: body.logprobs === undefined ? undefined : true,
    topLogprobs: body.logprobs,
    signal: exchange.left.signal,
  };
  return prompts.map((prompt) => service.answer(prompt, options));
}

/** Parts of several answers, as they come. */
async function* together(answers: readonly Answer[]): AsyncGenerator<{ at: number; part: Part }, void> {
  const iterators = answers.map(({ parts }) => parts[Symbol.asyncIterator]());
  const next = async (at: number) => ({ at, found: await iterators[at].next() });
  const open = new Map(iterators.map((_, at) => [at, next(at)]));
  try {
    while (open.size > 0) {
      const { at, found } = await Promise.race(open.values());
      if (found.done) open.delete(at);
      else {
        yield { at, part: found.value };
        open.set(at, next(at));
      }
    }
  } finally {
    for (const waiting of open.values()) waiting.catch(() => undefined); // the first error is the one that counts
    await Promise.allSettled(iterators.map((iterator) => iterator.return?.()));
  }
}

function headOf(service: Service) {
  const created = Math.floor(Date.now() / 1000);
  return { id: newId("cmpl-"), object: "text_completion", created, model: service.id, system_fingerprint: service.fingerprint };
}

async function* chunks(
  { service, body, exchange }: Call<CompletionRequest>,
  prompts: readonly TextPrompt[],
  answers: readonly Answer[],
): AsyncGenerator<string, void> {
  const head = headOf(service);
  const n = body.n ?? 1;
  const asked = body.stream_options?.include_usage;
  const send = (choices: readonly object[], more: object = {}) => data({ ...head, choices, ...(asked && { usage: null }), ...more });
  const echoes = prompts.flatMap((prompt) => Array.from({ length: n }, () => echoOf(service, body, prompt)));
  for await (const { at, part } of together(answers)) {
    const index = at * n + (part.index ?? 0);
    const text = echoes[index] + part.text;
    echoes[index] = "";
    if (text !== "") yield send([{ text, index, logprobs: null, finish_reason: null }]);
  }
  const results = await Promise.all(answers.map((answer) => answer.result()));
  Object.assign(exchange.facts, resultFacts(results[0]));
  for (const [at, result] of results.entries())
    for (const [i, choice] of (result.choices ?? [result]).entries()) {
      const index = at * n + i;
      const logprobs = logprobsOf(service, choice);
      yield send([{ text: echoes[index], index, logprobs, finish_reason: finishReasonOf(choice) }], { timings: timingsOf(result) });
    }
  if (asked) yield send([], { usage: usageOf(results) });
  yield done;
}

function echoOf({ model }: Service, { echo }: CompletionRequest, prompt: TextPrompt): string {
  if (!echo) return "";
  return typeof prompt === "string" ? prompt : model.tokenizer.decode(prompt);
}

function logprobsOf({ model }: Service, result: Result): object | null {
  if (!result.logprobs) return null;
  const drawn = logprobsOfText(model, result).map((one) => ({ ...one, text: tokenText(model, one.id).token }));
  let offset = 0;
  return {
    tokens: drawn.map(({ text }) => text),
    token_logprobs: drawn.map(({ logprob }) => finite(logprob)),
    top_logprobs: drawn.map(({ top }) => Object.fromEntries(top.map((one) => [tokenText(model, one.id).token, finite(one.logprob)]))),
    text_offset: drawn.map(({ text }) => {
      const at = offset;
      offset += text.length;
      return at;
    }),
  };
}
