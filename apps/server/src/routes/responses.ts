// POST /v1/responses without memory: the whole conversation comes with each request.

import type { GenerateOptions, Message, Result } from "jamba";
import { badRequest, toApiError } from "../errors.ts";
import { ResponseItems } from "../response-items.ts";
import { type Call, resultFacts, withBody } from "../route.ts";
import { responseAnswer } from "../schemas/answers.ts";
import { type ResponseRequest, responseRequest } from "../schemas/requests.ts";
import { type Answer, newId, type Service } from "../service.ts";
import { data, eventStream } from "../sse.ts";
import { tokenLimit, usageOf } from "../wire.ts";

export const responsesRoute = withBody({
  method: "post",
  paths: ["/v1/responses", "/responses"],
  summary: "Answers a conversation, in the form of OpenAI's newer API; keeps nothing",
  request: responseRequest,
  returns: "A response, or with `stream` its events",
  answer: responseAnswer,
  streams: true,
  async handle(call) {
    const { service, body, c, exchange } = call;
    service.expectModel(body.model);
    const head = headOf(service, body);
    const answer = startAnswer(call);
    if (body.stream) {
      const tell = new Teller();
      return eventStream(events(call, head, answer, tell), call, (error) => {
        const { message, code } = toApiError(error).body.error;
        tell.add("response.failed", { response: { ...head, status: "failed", error: { code, message } } });
        return tell.take();
      });
    }
    const items = new ResponseItems();
    for await (const { pieces } of answer.parts) for (const piece of pieces) items.push(piece);
    const result = await answer.result();
    Object.assign(exchange.facts, resultFacts(result));
    return c.json(finished(service, head, items, result));
  },
});

function startAnswer({ service, body, exchange }: Call<ResponseRequest>): Answer {
  const { instructions, input, tools, tool_choice: choice, text, temperature, top_p: topP } = body;
  const messages: Message[] = [
    ...(instructions === undefined ? [] : [{ role: "system" as const, content: instructions }]),
    ...(typeof input === "string" ? [{ role: "user" as const, content: input }] : input.flatMap(toMessages)),
  ];
  if (messages.length === 0) throw badRequest("input", "expected a message, found none");
  const format = text?.format;
  const options: GenerateOptions = {
    temperature,
    topP,
    maxTokens: tokenLimit(body.max_output_tokens),
    tools: tools?.length ? tools.map(({ type, ...named }) => ({ type, function: named })) : undefined,
    toolChoice: tools?.length || typeof choice === "object" || choice === "required" ? choice : undefined,
    parallelToolCalls: body.parallel_tool_calls,
    format:
      !format || format.type === "text" ? undefined : { type: "json", schema: format.type === "json_schema" ? format.schema : undefined },
    knobs: format?.type === "json_object" ? { response_format: "json_object" } : undefined,
    signal: exchange.left.signal,
  };
  return service.answer(messages, options);
}

function toMessages(item: Exclude<ResponseRequest["input"], string>[number]): Message[] {
  if ("role" in item) return [{ role: item.role === "developer" ? "system" : item.role, content: textOf(item.content) }];
  if (item.type === "function_call") {
    const called = { name: item.name, arguments: item.arguments };
    return [{ role: "assistant", content: "", tool_calls: [{ id: item.call_id, type: "function", function: called }] }];
  }
  if (item.type === "function_call_output") return [{ role: "tool", content: textOf(item.output), tool_call_id: item.call_id }];
  return [];
}

function textOf(content: string | readonly { text: string }[]): string {
  return typeof content === "string" ? content : content.map(({ text }) => text).join("");
}

function headOf({ id: model }: Service, body: ResponseRequest) {
  const { instructions = null, temperature = null, top_p = null, tools = [], tool_choice = "auto", text, metadata = {} } = body;
  return {
    id: newId("resp_"),
    object: "response",
    created_at: Math.floor(Date.now() / 1000),
    status: "in_progress",
    error: null as object | null,
    incomplete_details: null as object | null,
    instructions,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata,
    model,
    output: [] as readonly object[],
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: null,
    store: false,
    temperature,
    text: text ?? { format: { type: "text" } },
    tool_choice,
    tools,
    top_p,
    usage: null as object | null,
  };
}

type Head = ReturnType<typeof headOf>;

/** Ends the last item too. */
function finished({ model }: Service, head: Head, items: ResponseItems, result: Result): Head {
  const usage = usageOf(model, [result]);
  const isWhole = result.finishReason === "stop" || result.finishReason === "tool-calls";
  items.end(isWhole ? "completed" : "incomplete");
  return {
    ...head,
    status: isWhole ? "completed" : "incomplete",
    incomplete_details: isWhole ? null : { reason: "max_output_tokens" },
    output: items.output,
    usage: {
      input_tokens: usage.prompt_tokens,
      input_tokens_details: usage.prompt_tokens_details,
      output_tokens: usage.completion_tokens,
      output_tokens_details: usage.completion_tokens_details,
      total_tokens: usage.total_tokens,
    },
  };
}

async function* events(call: Call<ResponseRequest>, head: Head, { parts, result }: Answer, tell: Teller): AsyncGenerator<string, void> {
  const items = new ResponseItems(tell.add);
  const begin = () => {
    tell.add("response.created", { response: head });
    tell.add("response.in_progress", { response: head });
  };
  let isFirst = true;
  for await (const { pieces } of parts) {
    if (isFirst) begin();
    isFirst = false;
    for (const piece of pieces) items.push(piece);
    yield tell.take();
  }
  const whole = await result();
  if (isFirst) begin();
  Object.assign(call.exchange.facts, resultFacts(whole));
  const response = finished(call.service, head, items, whole);
  tell.add(`response.${response.status}`, { response });
  yield tell.take();
}

/** Events with their numbers, until they are sent. */
class Teller {
  #number = 0;
  #text = "";

  readonly add = (type: string, fields: object): void => {
    this.#text += `event: ${type}\n${data({ type, sequence_number: this.#number++, ...fields })}`;
  };

  take(): string {
    const text = this.#text;
    this.#text = "";
    return text;
  }
}
