// POST /v1/chat/completions.

import type { GenerateOptions, Message, Part, Result, TokenLogprob, ToolChoice } from "jamba";
import type { z } from "zod";
import { badRequest } from "../errors.ts";
import { type LazyList, lazily, sendJson } from "../json.ts";
import { noteLoose } from "../notes.ts";
import { type Call, resultFacts, withBody } from "../route.ts";
import { chatAnswer } from "../schemas/answers.ts";
import type { message } from "../schemas/fields.ts";
import { type ChatRequest, chatRequest } from "../schemas/requests.ts";
import { type Answer, newId, type Service, unixSeconds } from "../service.ts";
import { data, done, eventStream } from "../sse.ts";
import { allowedTools, choiceFor, fieldsOf, readTools, type Words } from "../tools.ts";
import {
  finishReasonOf,
  finite,
  formatOf,
  type Logprobs,
  logprobsOfText,
  StreamedLogprobs,
  samplingOptions,
  templateOf,
  timingsOf,
  tokenLimit,
  turnOf,
  usageOf,
} from "../wire.ts";

export const chatRoute = withBody({
  method: "post",
  paths: ["/v1/chat/completions", "/chat/completions"],
  summary: "Answers a conversation",
  request: chatRequest,
  returns: "A chat.completion, or with `stream` chat.completion.chunks",
  answer: chatAnswer,
  streams: true,
  async handle(call) {
    const { service, body, c, exchange } = call;
    const answer = await startAnswer(call);
    if (body.stream) return eventStream(chunks(call, answer), call);
    for await (const _ of answer.parts);
    const result = await answer.result();
    Object.assign(exchange.facts, resultFacts(result));
    return sendJson(c, completion(service, body, result));
  },
});

async function startAnswer(call: Call<ChatRequest>): Promise<Answer> {
  const { service, body, exchange } = call;
  if (body.top_logprobs !== undefined && !body.logprobs)
    throw badRequest("top_logprobs", "expected it with logprobs: true, found it alone");
  const messages = body.messages.map(toMessage);
  const offered = readTools(body.tools, functionOf, exchange.notes);
  const { knobs, ...others } = templateOf(body);
  const isPlainJson = body.response_format?.type === "json_object";
  const template = {
    tools: offered.tools,
    ...others,
    // Jamba 1.5 was taught a mode for it.
    knobs: isPlainJson ? { response_format: "json_object", ...knobs } : knobs,
  };
  const options: GenerateOptions = {
    ...samplingOptions(body, service.options),
    ...template,
    ...turnOf(body),
    ...(body.max_completion_tokens !== undefined && { maxTokens: tokenLimit(body.max_completion_tokens) }),
    ...(body.response_format && { format: formatOf(body.response_format) }),
    toolChoice: choiceFor(offered, choiceOf(body.tool_choice)),
    parallelToolCalls: body.isOldForm ? false : body.parallel_tool_calls,
    logprobs: body.logprobs,
    topLogprobs: body.top_logprobs,
    tenant: exchange.tenant,
    signal: exchange.left.signal,
  };
  exchange.fieldOf = fieldsOf(wordsOf(body), offered);
  const formatMs = await noteLoose(call, options, [messages]);
  const slot = body.id_slot === undefined || body.id_slot < 0 ? undefined : service.slots?.at(body.id_slot, exchange.tenant);
  if (slot && (body.n ?? 1) > 1) throw badRequest("n", "expected 1 with id_slot, which keeps one answer");
  return service.answer(messages, { ...options, formatMs }, slot && ((_, given) => slot.stream(service.model, messages, template, given)));
}

export function functionOf<T>(tool: { readonly function: T } | { readonly type: string }): T | undefined {
  return "function" in tool ? tool.function : undefined;
}

function choiceOf(choice: ChatRequest["tool_choice"]): ToolChoice | undefined {
  if (typeof choice !== "object" || choice.type === "function") return choice;
  const { mode, tools } = choice.allowed_tools;
  const names = tools.map((tool) => functionOf(tool)?.name);
  return allowedTools(names, mode, "tool_choice.allowed_tools.tools");
}

function wordsOf({ response_format: format, isOldForm }: ChatRequest): Words {
  return {
    schema: !format ? "json_schema" : format.type === "json_schema" ? "response_format.json_schema.schema" : "response_format.schema",
    tool: (place) => (isOldForm ? `functions[${place}]` : `tools[${place}].function`),
  };
}

export function toMessage({ role, ...rest }: z.output<typeof message>): Message {
  const { tool_calls, ...others } = rest;
  return {
    role: role === "developer" ? "system" : role,
    ...others,
    ...(tool_calls && { tool_calls: tool_calls.map(({ id, function: called }) => ({ id, type: "function" as const, function: called })) }),
  };
}

function headOf(service: Service, object: string) {
  return { id: newId("chatcmpl-"), object, created: unixSeconds(), model: service.id, system_fingerprint: service.fingerprint };
}

function completion(service: Service, body: ChatRequest, result: Result) {
  return {
    ...headOf(service, "chat.completion"),
    choices: (result.choices ?? [result]).map((choice, index) => {
      const calls = choice.toolCalls.map((call) => ({
        id: call.id,
        type: "function",
        function: { name: call.name, arguments: call.json },
      }));
      return {
        index,
        message: {
          role: "assistant",
          content: choice.content === "" && calls.length > 0 ? null : choice.content,
          refusal: null,
          ...(choice.reasoning !== undefined && { reasoning_content: choice.reasoning }),
          ...(calls.length > 0 && (body.isOldForm ? { function_call: calls[0].function } : { tool_calls: calls })),
        },
        logprobs: choice.logprobs ? logprobsOf(logprobsOfText(service.model, choice)) : null,
        finish_reason: endOf(body, choice),
      };
    }),
    usage: usageOf(service.model, [result]),
    timings: timingsOf(result),
    cache_miss_reason: result.cacheMissReason,
  };
}

async function* chunks({ service, body, exchange }: Call<ChatRequest>, { parts, result }: Answer): AsyncGenerator<string, void> {
  const head = headOf(service, "chat.completion.chunk");
  const asked = body.stream_options?.include_usage;
  const send = (choices: readonly object[], more: object = {}) => data({ ...head, choices, ...(asked && { usage: null }), ...more });
  const choice = (index: number, delta: object, finish_reason: string | null = null, logprobs: object | null = null) => ({
    index,
    delta,
    logprobs,
    finish_reason,
  });
  const n = body.n ?? 1;
  const logprobs = Array.from({ length: n }, () => new StreamedLogprobs(service.model));
  const shown = (found: Logprobs) => (found.length > 0 ? logprobsOf(found) : null);
  const end = (index: number, one: Result, more: object = {}) =>
    send([choice(index, {}, endOf(body, one), shown(logprobs[index].rest(one)))], more);
  const start = performance.now();
  let drawn = 0;
  let open = n;
  let last = 0;
  let isFirst = true;
  const roles = Array.from({ length: n }, (_, index) => send([choice(index, { role: "assistant", content: "" })]));
  for await (const part of parts) {
    if (isFirst) yield roles.join("");
    isFirst = false;
    drawn += part.ids.length;
    const index = part.index ?? 0;
    if (part.result) {
      // What ends the last one also tells of all.
      if (--open > 0) yield end(index, part.result);
      else last = index;
      continue;
    }
    const ms = performance.now() - start;
    const timings = { timings: { predicted_n: drawn, predicted_ms: ms, predicted_per_second: (drawn * 1000) / ms } };
    logprobs[index].push(part);
    for (const delta of deltas(part, body))
      yield send([choice(index, delta, null, shown(logprobs[index].take()))], body.timings_per_token ? timings : {});
  }
  const whole = await result();
  Object.assign(exchange.facts, resultFacts(whole));
  // The whole answer may have no text.
  if (isFirst) yield roles.join("");
  yield end(last, whole.choices?.[last] ?? whole, { timings: timingsOf(whole), cache_miss_reason: whole.cacheMissReason });
  if (asked) yield send([], { usage: usageOf(service.model, [whole]) });
  yield done;
}

function endOf({ isOldForm }: ChatRequest, result: Result): string {
  const reason = finishReasonOf(result);
  return reason === "tool_calls" && isOldForm ? "function_call" : reason;
}

function* deltas({ pieces }: Part, { isOldForm }: ChatRequest): Generator<object> {
  for (const piece of pieces) {
    if ("text" in piece) yield { content: piece.text };
    else if ("reasoning" in piece) yield { reasoning_content: piece.reasoning };
    else {
      const { index, id, name, argumentsDelta } = piece.toolCall;
      if (isOldForm) {
        yield { function_call: { ...(name !== undefined && { name }), arguments: argumentsDelta } };
        continue;
      }
      if (name !== undefined) yield { tool_calls: [{ index, id, type: "function", function: { name, arguments: "" } }] };
      if (argumentsDelta !== "") yield { tool_calls: [{ index, function: { arguments: argumentsDelta } }] };
    }
  }
}

function logprobsOf(found: Logprobs): { content: LazyList; refusal: null } {
  const shown = ({ text: token, bytes, logprob }: TokenLogprob) => ({ token, bytes, logprob: finite(logprob) });
  return { content: lazily(found, ({ top, ...one }) => ({ ...shown(one), top_logprobs: top.map(shown) })), refusal: null };
}
