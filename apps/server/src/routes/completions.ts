// POST /v1/completions: goes on with plain texts.

import { merged, type Part, type Result, type TextOrIds } from "jamba";
import { badRequest } from "../errors.ts";
import { sendJson } from "../json.ts";
import { ownTurn } from "../line.ts";
import { noteLoose } from "../notes.ts";
import { type Call, resultFacts, withBody } from "../route.ts";
import { completionAnswer } from "../schemas/answers.ts";
import { type CompletionRequest, completionRequest } from "../schemas/requests.ts";
import { type Answer, type AppSettings, type Before, newId, type Service, unixSeconds } from "../service.ts";
import { data, done, eventStream } from "../sse.ts";
import { firstOffset, promptLogprobs, type ShownToken, TextLogprobs } from "../text-logprobs.ts";
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
    const echoes = await Promise.all(asked.map(({ echo }) => echo()));
    Object.assign(exchange.facts, resultFacts(results[0]));
    const n = body.n ?? 1;
    return sendJson(c, {
      ...headOf(service),
      choices: results.flatMap((result, at) =>
        bestOf(result, n).map((choice, i) => ({
          text: echoes[at] + choice.text,
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
  readonly echo: () => Promise<string>;
  /** Of that, with its log probabilities; none where these are not asked for. Once the answer has begun. */
  readonly echoed: () => readonly ShownToken[];
  /** Where the text of `echoed`, or else of an answer, begins. Once `echo` is there. */
  readonly offset: () => number;
}

function promptsOf({ prompt, n = 1, best_of = n }: CompletionRequest, options: AppSettings): readonly TextOrIds[] {
  const prompts = typeof prompt === "string" || typeof prompt[0] === "number" ? [prompt as TextOrIds] : (prompt as TextOrIds[]);
  const param = best_of > n ? "best_of" : "n";
  expectChoices(param, prompts.length * best_of, options);
  return prompts;
}

async function startAnswers(call: Call<CompletionRequest>, prompts: readonly TextOrIds[]): Promise<Asked[]> {
  const { service, body, exchange } = call;
  const { n = 1, best_of: drawn = n, logprobs: topLogprobs, echo } = body;
  if (drawn < n) throw badRequest("best_of", `expected n at least, which is ${n}, found ${drawn}`);
  if (drawn > n && body.stream) throw badRequest("best_of", `expected n, which is ${n}, with stream: which is best shows at the end`);
  const options = {
    ...samplingOptions(body, service.options),
    n: drawn,
    logprobs: topLogprobs !== undefined || drawn > n ? true : undefined,
    topLogprobs,
    tenant: exchange.tenant,
    request: exchange.id,
    signal: exchange.left.signal,
  };
  exchange.fieldOf = fieldsOf({ messages: "prompt", schema: "json_schema" }, { places: [] });
  const formatMs = await noteLoose(call, options, prompts);
  const { tokenizer } = service.model;
  const textOf = async (prompt: TextOrIds) =>
    typeof prompt === "string" ? prompt : tokenizer.decodeAsync(prompt, { signal: exchange.left.signal });
  const asked: Asked[] = [];
  for (const prompt of prompts) {
    // Each may take some milliseconds to become tokens.
    if (asked.length > 0) await ownTurn();
    let text: string | undefined;
    let offset: number | undefined;
    let echoed: readonly ShownToken[] = [];
    const before: Before = async (signal) => {
      // An answer goes on from what was read.
      echoed = await promptLogprobs(service.model, prompt, { topLogprobs, keep: options.maxTokens !== 0, tenant: exchange.tenant, signal });
    };
    asked.push({
      answer: service.answer(prompt, { ...options, formatMs }, undefined, echo && topLogprobs !== undefined ? before : undefined),
      echo: async () => {
        text ??= echo ? await textOf(prompt) : "";
        return text;
      },
      echoed: () => echoed,
      offset: () => {
        offset ??= firstOffset(text!, echoed);
        return offset;
      },
    });
  }
  return asked;
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
  try {
    for await (const { at, found } of merged(iterators)) {
      if (!found.done) {
        yield { at, part: found.value };
        continue;
      }
      const result = await asked[at].answer.result();
      if (!result.choices) yield { at, part: { text: "", pieces: [], ids: [], result } };
    }
  } finally {
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
  const open: { echo: string; readonly lists: TextLogprobs; readonly source: StreamedLogprobs }[] = [];
  for await (const { at, part } of together(all)) {
    const { index: i = 0, result } = part;
    const index = at * n + i;
    if (!open[index]) {
      const { echoed, offset } = all[at];
      const echo = await all[at].echo();
      const lists = new TextLogprobs(offset());
      open[index] = { echo, lists, source: new StreamedLogprobs(service.model) };
      // Those of a long prompt in several events, with turns for others between.
      for (const before = [...echoed()]; before.length > 0; await ownTurn()) {
        yield send([{ text: open[index].echo, index, logprobs: lists.next(before.splice(0, eventTokens)), finish_reason: null }]);
        open[index].echo = "";
      }
    }
    const { echo, lists, source } = open[index];
    open[index].echo = "";
    if (!result) source.push(part);
    const choice = { text: echo + part.text, index, logprobs: lists.next(result ? source.rest(result, body.echo) : source.take()) };
    if (result) yield send([{ ...choice, finish_reason: finishReasonOf(result) }], { timings: timingsOf(result) });
    else yield send([{ ...choice, finish_reason: null }]);
  }
  const results = await Promise.all(all.map(({ answer }) => answer.result()));
  Object.assign(exchange.facts, resultFacts(results[0]));
  if (asked) yield send([], { usage: usageOf(service.model, results) });
  yield done;
}

/** Tokens of a prompt in an event. */
const eventTokens = 256;

function logprobsOf({ service, body }: Call<CompletionRequest>, asked: Asked, choice: Result): object {
  // Evaluations leave out one token that was drawn after an echo, whichever it is.
  return new TextLogprobs(asked.offset()).next(asked.echoed(), logprobsOfText(service.model, choice, body.echo)) ?? noTokens;
}

const noTokens = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
