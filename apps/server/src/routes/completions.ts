// POST /v1/completions: goes on with plain texts.

import type { Part, Result, TextOrIds } from "jamba";
import { badRequest } from "../errors.ts";
import { noteLoose } from "../notes.ts";
import { type Call, resultFacts, withBody } from "../route.ts";
import { completionAnswer } from "../schemas/answers.ts";
import { type CompletionRequest, completionRequest } from "../schemas/requests.ts";
import { type Answer, type AppSettings, type Before, newId, type Service, unixSeconds } from "../service.ts";
import { data, done, eventStream } from "../sse.ts";
import { promptLogprobs, type ShownToken, TextLogprobs } from "../text-logprobs.ts";
import { fieldsOf } from "../tools.ts";
import { expectChoices, finishReasonOf, logprobsOfText, StreamedLogprobs, samplingOptions, timingsOf, usageOf } from "../wire.ts";

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
    const asked = await startAnswers(call, promptsOf(body, service.options));
    if (body.stream) return eventStream(chunks(call, asked), call);
    for await (const _ of together(asked));
    const results = await Promise.all(asked.map(({ answer }) => answer.result()));
    Object.assign(exchange.facts, resultFacts(results[0]));
    const n = body.n ?? 1;
    return c.json({
      ...headOf(service),
      choices: results.flatMap((result, at) =>
        bestOf(result, n).map((choice, i) => ({
          text: asked[at].echo() + choice.text,
          index: at * n + i,
          logprobs: body.logprobs === undefined ? null : logprobsOf(call, asked[at], choice),
          finish_reason: finishReasonOf(choice),
        })),
      ),
      usage: usageOf(service.model, results),
      timings: timingsOf(results[0]),
      cache_miss_reason: results[0].cacheMissReason,
    });
  },
});

/** A prompt and its answers. */
interface Asked {
  readonly answer: Answer;
  /** What stands before each answer. */
  readonly echo: () => string;
  /** Of that, with its log probabilities; none where these are not asked for. Once the answer has begun. */
  readonly echoed: () => readonly ShownToken[];
}

function promptsOf({ prompt, n = 1, best_of = n }: CompletionRequest, options: AppSettings): readonly TextOrIds[] {
  const prompts = typeof prompt === "string" || typeof prompt[0] === "number" ? [prompt as TextOrIds] : (prompt as TextOrIds[]);
  const param = best_of > n ? "best_of" : "n";
  expectChoices(param, prompts.length * best_of, options);
  return prompts;
}

async function startAnswers({ service, body, exchange }: Call<CompletionRequest>, prompts: readonly TextOrIds[]): Promise<Asked[]> {
  const { n = 1, best_of: drawn = n, logprobs: topLogprobs, echo } = body;
  if (drawn < n) throw badRequest("best_of", `expected n at least, which is ${n}, found ${drawn}`);
  if (drawn > n && body.stream) throw badRequest("best_of", `expected n, which is ${n}, with stream: which is best shows at the end`);
  const options = {
    ...samplingOptions(body, service.options),
    n: drawn,
    logprobs: topLogprobs !== undefined || drawn > n ? true : undefined,
    topLogprobs,
    tenant: exchange.tenant,
    signal: exchange.left.signal,
  };
  exchange.fieldOf = fieldsOf({ messages: "prompt", schema: "json_schema" }, { places: [] });
  const formatMs = await noteLoose(exchange.notes, service.model, options, exchange.fieldOf);
  return prompts.map((prompt) => {
    let echoed: readonly ShownToken[] = [];
    const before: Before = async (signal) => {
      // An answer goes on from what was read.
      echoed = await promptLogprobs(service.model, prompt, { topLogprobs, keep: options.maxTokens !== 0, tenant: exchange.tenant, signal });
    };
    return {
      answer: service.answer(prompt, { ...options, formatMs }, undefined, echo && topLogprobs !== undefined ? before : undefined),
      echo: () => (!echo ? "" : typeof prompt === "string" ? prompt : service.model.tokenizer.decode(prompt)),
      echoed: () => echoed,
    };
  });
}

/** The `n` answers whose tokens are the most probable, on average. */
function bestOf(result: Result, n: number): readonly Result[] {
  const all = result.choices ?? [result];
  if (all.length === n) return all;
  const mean = ({ logprobs = [] }: Result) => logprobs.reduce((sum, { logprob }) => sum + logprob, 0) / Math.max(1, logprobs.length);
  return all.toSorted((a, b) => mean(b) - mean(a)).slice(0, n);
}

/** Parts of several answers, as they come; the last of each has its result. */
async function* together(asked: readonly Asked[]): AsyncGenerator<{ at: number; part: Part }, void> {
  const iterators = asked.map(({ answer }) => answer.parts[Symbol.asyncIterator]());
  const next = async (at: number) => ({ at, found: await iterators[at].next() });
  const open = new Map(iterators.map((_, at) => [at, next(at)]));
  try {
    while (open.size > 0) {
      const { at, found } = await Promise.race(open.values());
      if (found.done) {
        open.delete(at);
        const result = await asked[at].answer.result();
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
  const created = unixSeconds();
  return { id: newId("cmpl-"), object: "text_completion", created, model: service.id, system_fingerprint: service.fingerprint };
}

async function* chunks(call: Call<CompletionRequest>, all: readonly Asked[]): AsyncGenerator<string, void> {
  const { service, body, exchange } = call;
  const head = headOf(service);
  const n = body.n ?? 1;
  const asked = body.stream_options?.include_usage;
  const send = (choices: readonly object[], more: object = {}) => data({ ...head, choices, ...(asked && { usage: null }), ...more });
  const open: { echo: string; logprobs: ShownLogprobs; source: StreamedLogprobs }[] = [];
  for await (const { at, part } of together(all)) {
    const { index: i = 0, result } = part;
    const index = at * n + i;
    open[index] ??= { ...begun(all[at]), source: new StreamedLogprobs(service.model) };
    const { echo, logprobs, source } = open[index];
    open[index].echo = "";
    if (!result) source.push(part);
    const choice = { text: echo + part.text, index, logprobs: logprobs(result ? source.rest(result, body.echo) : source.take()) };
    if (result) yield send([{ ...choice, finish_reason: finishReasonOf(result) }], { timings: timingsOf(result) });
    else yield send([{ ...choice, finish_reason: null }]);
  }
  const results = await Promise.all(all.map(({ answer }) => answer.result()));
  Object.assign(exchange.facts, resultFacts(results[0]));
  if (asked) yield send([], { usage: usageOf(service.model, results) });
  yield done;
}

/** Log probabilities of tokens that come, the first time with those of the prompt before them. */
type ShownLogprobs = (tokens: readonly ShownToken[]) => object | null;

function begun({ echo, echoed }: Asked): { echo: string; logprobs: ShownLogprobs } {
  const text = echo();
  let before = echoed();
  const lists = new TextLogprobs(text, before);
  const logprobs: ShownLogprobs = (tokens) => {
    const shown = lists.next([...before, ...tokens]);
    before = [];
    return shown;
  };
  return { echo: text, logprobs };
}

function logprobsOf({ service, body }: Call<CompletionRequest>, asked: Asked, choice: Result): object {
  // Evaluations leave out one token that was drawn after an echo, whichever it is.
  return begun(asked).logprobs(logprobsOfText(service.model, choice, body.echo)) ?? noTokens;
}

const noTokens = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
