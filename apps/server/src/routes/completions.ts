// POST /v1/completions: goes on with plain texts.

import type { Part } from "jamba";
import { badRequest } from "../errors.ts";
import { noteLoose } from "../notes.ts";
import { type Call, resultFacts, withBody } from "../route.ts";
import { completionAnswer } from "../schemas/answers.ts";
import { type CompletionRequest, completionRequest } from "../schemas/requests.ts";
import { type Answer, newId, type Service } from "../service.ts";
import { data, done, eventStream } from "../sse.ts";
import { fieldsOf } from "../tools.ts";
import { finishReasonOf, finite, type Logprobs, logprobsOfText, StreamedLogprobs, samplingOptions, timingsOf, usageOf } from "../wire.ts";

export const completionsRoute = withBody({
  method: "post",
  paths: ["/v1/completions", "/completions"],
  summary: "Goes on with a text",
  request: completionRequest,
  returns: "A text_completion, or with `stream` several, piece by piece",
  answer: completionAnswer,
  streams: true,
  async handle(call) {
    const { service, body, c, exchange } = call;
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
          logprobs: choice.logprobs ? logprobsOf(logprobsOfText(service.model, choice)) : null,
          finish_reason: finishReasonOf(choice),
        })),
      ),
      usage: usageOf(service.model, results),
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
  if (body.best_of !== undefined && body.best_of !== (body.n ?? 1)) throw badRequest("best_of", `expected n, which is ${body.n ?? 1}`);
  if (body.echo && body.logprobs !== undefined) throw badRequest("echo", "expected false with logprobs, which are of new tokens only");
  const options = {
    ...samplingOptions(body, service.options),
    logprobs: body.logprobs === undefined ? undefined : true,
    topLogprobs: body.logprobs,
    signal: exchange.left.signal,
  };
  exchange.fieldOf = fieldsOf({ messages: "prompt", schema: "json_schema" }, { places: [] });
  noteLoose(exchange.notes, options, exchange.fieldOf);
  return prompts.map((prompt) => service.answer(prompt, options));
}

/** Parts of several answers, as they come; the last of each has its result. */
async function* together(answers: readonly Answer[]): AsyncGenerator<{ at: number; part: Part }, void> {
  const iterators = answers.map(({ parts }) => parts[Symbol.asyncIterator]());
  const next = async (at: number) => ({ at, found: await iterators[at].next() });
  const open = new Map(iterators.map((_, at) => [at, next(at)]));
  try {
    while (open.size > 0) {
      const { at, found } = await Promise.race(open.values());
      if (found.done) {
        open.delete(at);
        const result = await answers[at].result();
        if (!result.choices) yield { at, part: { text: "", pieces: [], ids: [], result } };
      } else {
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
  const logprobs = echoes.map(() => ({ source: new StreamedLogprobs(service.model), offset: 0 }));
  const shown = (index: number, found: Logprobs) => {
    if (found.length === 0) return null;
    const { offset } = logprobs[index];
    for (const { text } of found) logprobs[index].offset += text.length;
    return logprobsOf(found, offset);
  };
  for await (const { at, part } of together(answers)) {
    const { index: i = 0, result } = part;
    const index = at * n + i;
    const text = echoes[index] + part.text;
    echoes[index] = "";
    if (result) {
      const last = { text, index, logprobs: shown(index, logprobs[index].source.rest(result)) };
      yield send([{ ...last, finish_reason: finishReasonOf(result) }], { timings: timingsOf(result) });
    } else {
      logprobs[index].source.push(part);
      yield send([{ text, index, logprobs: shown(index, logprobs[index].source.take()), finish_reason: null }]);
    }
  }
  const results = await Promise.all(answers.map((answer) => answer.result()));
  Object.assign(exchange.facts, resultFacts(results[0]));
  if (asked) yield send([], { usage: usageOf(service.model, results) });
  yield done;
}

function echoOf({ model }: Service, { echo }: CompletionRequest, prompt: TextPrompt): string {
  if (!echo) return "";
  return typeof prompt === "string" ? prompt : model.tokenizer.decode(prompt);
}

/** @param offset characters before */
function logprobsOf(drawn: Logprobs, offset = 0): object {
  let end = offset;
  return {
    tokens: drawn.map(({ text }) => text),
    token_logprobs: drawn.map(({ logprob }) => finite(logprob)),
    top_logprobs: drawn.map(({ top }) => Object.fromEntries(top.map(({ text, logprob }) => [text, finite(logprob)]))),
    text_offset: drawn.map(({ text }) => {
      const at = end;
      end += text.length;
      return at;
    }),
  };
}
