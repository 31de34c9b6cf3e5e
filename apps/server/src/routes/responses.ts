// /v1/responses: answers in OpenAI's newer form, and the last of them by their ids.

import type { GenerateOptions, Result, ToolChoice } from "jamba";
import { z } from "zod";
import { ApiError, toApiError } from "../errors.ts";
import { sendJson } from "../json.ts";
import { type Notes, noteLoose } from "../notes.ts";
import { type InputItem, type Items, itemsOf, messagesOf } from "../response-input.ts";
import { ResponseItems } from "../response-items.ts";
import { type Call, type Route, resultFacts, withBody, withoutModel } from "../route.ts";
import { deletedResponseAnswer, responseAnswer } from "../schemas/answers.ts";
import { type ResponseRequest, responseRequest } from "../schemas/requests.ts";
import { type Answer, newId, type Service, unixSeconds } from "../service.ts";
import { event, eventStream } from "../sse.ts";
import { allowedTools, choiceFor, fieldsOf, readTools } from "../tools.ts";
import { samplingOptions, tokenLimit, usageOf } from "../wire.ts";

const answerRoute = withBody({
  method: "post",
  paths: ["/v1/responses", "/responses"],
  summary: "Answers a conversation, in the form of OpenAI's newer API",
  request: responseRequest,
  returns: "A response, or with `stream` its events",
  answer: responseAnswer,
  streams: true,
  async handle(call) {
    const { services, service, body, c, exchange } = call;
    const items = itemsOf(body, services.responses.of(exchange.tenant?.name), services.options.maxBodyBytes);
    const asked: Asked = { head: headOf(service, body), input: items.own };
    const answer = await startAnswer(call, items);
    if (body.stream) {
      const tell = new Teller();
      return eventStream(events(call, asked, answer, tell), call, (error) => {
        const { message, code } = toApiError(error, exchange.fieldOf).body.error;
        tell.add("response.failed", { response: { ...asked.head, status: "failed", error: { code, message } } });
        return tell.take();
      });
    }
    const output = new ResponseItems();
    for await (const { pieces } of answer.parts) for (const piece of pieces) output.push(piece);
    const result = await answer.result();
    Object.assign(exchange.facts, resultFacts(result));
    return sendJson(c, finished(call, asked, output, result));
  },
});

const path = "/v1/responses/:id";
const id = z.string();

export const responseRoutes: readonly Route[] = [
  answerRoute,
  withoutModel({
    method: "get",
    paths: [path],
    id,
    summary: "A response that is kept",
    returns: "The response",
    answer: responseAnswer,
    handle({ services, c, exchange }) {
      const wanted = c.req.param("id")!;
      return c.json((services.responses.of(exchange.tenant?.name).get(wanted) ?? notKept(wanted)).response);
    },
  }),
  withoutModel({
    method: "delete",
    paths: [path],
    id,
    summary: "Forgets a response; those that went on from it can't be gone on from any more",
    returns: "What was forgotten",
    answer: deletedResponseAnswer,
    handle({ services, c, exchange }) {
      const wanted = c.req.param("id")!;
      return services.responses.of(exchange.tenant?.name).delete(wanted)
        ? c.json({ id: wanted, object: "response", deleted: true })
        : notKept(wanted);
    },
  }),
];

function notKept(wanted: string): never {
  throw new ApiError(404, `id: expected a response that this server keeps, found ${JSON.stringify(wanted)}`, {
    param: "id",
    code: "response_not_found",
  });
}

/** What stands before any answer. */
interface Asked {
  readonly head: Head;
  readonly input: readonly InputItem[];
}

async function startAnswer(call: Call<ResponseRequest>, items: Items): Promise<Answer> {
  const { service, body, exchange } = call;
  const { notes } = exchange;
  noteIgnored(body, notes);
  const messages = messagesOf(body.instructions, items, notes);
  const format = body.text?.format;
  const offered = readTools(
    body.tools,
    (tool) => {
      if (!("name" in tool)) return undefined;
      const { type: _, ...described } = tool;
      return described;
    },
    notes,
  );
  const schema = format?.type === "json_schema" ? format : undefined;
  const options: GenerateOptions = {
    ...samplingOptions(body, service.options),
    maxTokens: tokenLimit(body.max_output_tokens),
    tools: offered.tools,
    toolChoice: choiceFor(offered, choiceOf(body.tool_choice)),
    parallelToolCalls: body.parallel_tool_calls,
    truncation: body.truncation === "auto" ? "auto" : "none",
    format: !format || format.type === "text" ? undefined : { type: "json", schema: schema?.schema, strict: schema?.strict ?? false },
    knobs: format?.type === "json_object" ? { response_format: "json_object" } : undefined,
    tenant: exchange.tenant,
    signal: exchange.left.signal,
  };
  const words = { messages: "input", schema: "text.format.schema", tool: (place: number) => `tools[${place}]` };
  exchange.fieldOf = fieldsOf(words, offered);
  const formatMs = await noteLoose(call, options, [messages]);
  return service.answer(messages, { ...options, formatMs });
}

/** What `include` asks for is not there: no thoughts are encrypted, and no tool ran here. */
function noteIgnored({ include = [] }: ResponseRequest, { leftOut }: Notes): void {
  leftOut.push(...include.map((what, i) => `include[${i}] (${what})`));
}

function choiceOf(choice: ResponseRequest["tool_choice"]): ToolChoice | undefined {
  if (typeof choice !== "object") return choice;
  if ("name" in choice) return { name: choice.name };
  const names = choice.tools.map((tool) => ("name" in tool ? tool.name : undefined));
  return allowedTools(names, choice.mode, "tool_choice.tools");
}

function headOf({ id: model, options }: Service, body: ResponseRequest) {
  const { instructions = null, temperature = null, top_p = null, tools = [], tool_choice = "auto", text, metadata = {} } = body;
  return {
    id: newId("resp_"),
    object: "response",
    created_at: unixSeconds(),
    status: "in_progress",
    error: null as object | null,
    incomplete_details: null as object | null,
    instructions,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata,
    model,
    output: [] as readonly object[],
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: body.previous_response_id ?? null,
    store: body.store !== false && options.maxResponseBytes > 0,
    temperature,
    text: text ?? { format: { type: "text" } },
    tool_choice,
    tools,
    top_p,
    truncation: body.truncation ?? "disabled",
    usage: null as object | null,
  };
}

type Head = ReturnType<typeof headOf>;

/** Ends the last item too, and keeps the whole unless that was not wanted. */
function finished(
  { services, service, body, exchange }: Call<ResponseRequest>,
  { head, input }: Asked,
  items: ResponseItems,
  result: Result,
): Head {
  const usage = usageOf(service.model, [result]);
  const isWhole = result.finishReason === "stop" || result.finishReason === "tool-calls";
  items.end(isWhole ? "completed" : "incomplete");
  const dropped = result.dropped?.length ?? 0;
  if (dropped > 0) exchange.notes.leftOut.push(`input (the ${dropped} oldest messages)`);
  const response = {
    ...head,
    status: isWhole ? "completed" : "incomplete",
    incomplete_details: isWhole ? null : { reason: "max_output_tokens" },
    output: items.output,
    ...(result.dropped && { dropped_messages: dropped }),
    usage: {
      input_tokens: usage.prompt_tokens,
      input_tokens_details: usage.prompt_tokens_details,
      output_tokens: usage.completion_tokens,
      output_tokens_details: usage.completion_tokens_details,
      total_tokens: usage.total_tokens,
    },
  };
  if (response.store) services.responses.of(exchange.tenant?.name).put({ response, input, previous: body.previous_response_id });
  return response;
}

async function* events(call: Call<ResponseRequest>, asked: Asked, { parts, result }: Answer, tell: Teller): AsyncGenerator<string, void> {
  const { head } = asked;
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
  const response = finished(call, asked, items, whole);
  tell.add(`response.${response.status}`, { response });
  yield tell.take();
}

/** Events with their numbers, until they are sent. */
class Teller {
  #number = 0;
  #text = "";

  readonly add = (type: string, fields: object): void => {
    this.#text += event(type, { type, sequence_number: this.#number++, ...fields });
  };

  take(): string {
    const text = this.#text;
    this.#text = "";
    return text;
  }
}
