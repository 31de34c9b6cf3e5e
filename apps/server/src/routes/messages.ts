// POST /v1/messages and /v1/messages/count_tokens: Anthropic's API.

import type { GenerateOptions, Message, NamedTool, Result, ToolChoice } from "jamba";
import { sendJson } from "../json.ts";
import { MessageBlocks } from "../message-blocks.ts";
import { messagesOf } from "../message-input.ts";
import { type Notes, noteLoose } from "../notes.ts";
import { type Call, resultFacts, withBody } from "../route.ts";
import { type CountRequest, countAnswer, countRequest, type MessagesRequest, messageAnswer, messagesRequest } from "../schemas/messages.ts";
import { type Answer, newId, type Service } from "../service.ts";
import { event, eventStream } from "../sse.ts";
import { choiceFor, fieldsOf, readTools } from "../tools.ts";
import { samplingOptions, usageOf } from "../wire.ts";

export const messageRoutes = [
  withBody({
    method: "post",
    paths: ["/v1/messages"],
    summary: "Answers a conversation, in the form of Anthropic's API",
    request: messagesRequest,
    returns: "A message, or with `stream` its events",
    answer: messageAnswer,
    streams: true,
    async handle(call) {
      const { service, body, c, exchange } = call;
      const { messages, options, formatMs } = await promptOf(call);
      const drawn = samplingOptions({ ...body, stop: body.stop_sequences ?? body.stop }, service.options);
      // The engine reads no prompt for no tokens: one is drawn, and not told of.
      const maxTokens = Math.max(1, body.max_tokens);
      const answer = withoutTokens(
        body,
        service.answer(messages, { ...drawn, ...options, maxTokens, formatMs, tenant: exchange.tenant, signal: exchange.left.signal }),
      );
      if (body.stream) return eventStream(events(call, answer), call);
      const blocks = new MessageBlocks(wantsThoughts(body));
      for await (const { pieces } of answer.parts) for (const piece of pieces) blocks.push(piece);
      const result = await answer.result();
      blocks.end();
      Object.assign(exchange.facts, resultFacts(result));
      return sendJson(c, { ...headOf(service), content: blocks.content, ...endOf(result), usage: usage(service, result) });
    },
  }),
  withBody({
    method: "post",
    paths: ["/v1/messages/count_tokens"],
    summary: "Counts the tokens that a message would be asked with",
    request: countRequest,
    returns: "The count",
    answer: countAnswer,
    async handle(call) {
      const { messages, options } = await promptOf(call, { isCount: true });
      return call.c.json({
        input_tokens: await call.service.model.countTokensAsync(messages, { ...options, signal: call.exchange.left.signal }),
      });
    },
  }),
];

function withoutTokens({ max_tokens: maxTokens }: MessagesRequest, answer: Answer): Answer {
  if (maxTokens > 0) return answer;
  const parts = async function* () {
    for await (const part of answer.parts) yield { ...part, pieces: [] };
  };
  const result = async (): Promise<Result> => {
    const { usage: read, ...rest } = await answer.result();
    return { ...rest, ids: [], reasoning: undefined, finishReason: "length", usage: { ...read, completionTokens: 0 } };
  };
  return { parts: parts(), result };
}

interface Asked {
  readonly messages: Message[];
  readonly options: GenerateOptions;
  /** That its format and tools took. */
  readonly formatMs: number;
}

/** What an answer and a count have in common: all that the model reads, and what it is bound to. */
async function promptOf(call: Call<CountRequest>, { isCount = false } = {}): Promise<Asked> {
  const { body, exchange } = call;
  const { notes } = exchange;
  noteIgnored(body, notes);
  const messages = messagesOf(body, notes);
  const offered = readTools(body.tools, functionOf, notes);
  const choice = body.tool_choice;
  const format = body.output_config?.format ?? body.output_format;
  const options: GenerateOptions = {
    tools: offered.tools,
    toolChoice: choiceFor(offered, choiceOf(choice)),
    parallelToolCalls: choice && "disable_parallel_tool_use" in choice && choice.disable_parallel_tool_use ? false : undefined,
    // An answer that is begun is gone on with.
    continueFinalMessage: messages.at(-1)?.role === "assistant" ? true : undefined,
    format: format && { type: "json", schema: format.schema, strict: false },
  };
  const schema = body.output_config?.format ? "output_config.format.schema" : "output_format.schema";
  exchange.fieldOf = fieldsOf({ messages: "messages", schema, tool: (place) => `tools[${place}]`, parameters: "input_schema" }, offered);
  const formatMs = await noteLoose(call, options, isCount ? [] : [messages]);
  return { messages, options, formatMs };
}

function noteIgnored({ thinking, mcp_servers: servers, context_management: edits, container }: CountRequest, { leftOut }: Notes): void {
  if (thinking?.budget_tokens !== undefined) leftOut.push("thinking.budget_tokens");
  if (servers?.length) leftOut.push("mcp_servers");
  if (edits && Object.keys(edits).length > 0) leftOut.push("context_management");
  if (container !== undefined) leftOut.push("container");
}

function functionOf(tool: NonNullable<CountRequest["tools"]>[number]): NamedTool | undefined {
  if (!("input_schema" in tool)) return undefined;
  const { name, description, input_schema: parameters, strict } = tool;
  return { name, ...(description !== undefined && { description }), parameters, ...(strict && { strict }) };
}

function choiceOf(choice: CountRequest["tool_choice"]): ToolChoice | undefined {
  if (choice?.type === "tool") return { name: choice.name };
  return choice?.type === "any" ? "required" : choice?.type;
}

/** Who did not ask for thoughts looks for the answer in the first block. */
function wantsThoughts({ thinking }: MessagesRequest): boolean {
  return thinking !== undefined && thinking.type !== "disabled" && thinking.display !== "omitted";
}

function headOf({ id: model }: Service) {
  return { id: newId("msg_"), type: "message", role: "assistant", model, content: [] as object[], container: null };
}

const stopReasons = { stop: "end_turn", length: "max_tokens", "tool-calls": "tool_use", cancelled: "max_tokens" } as const;

function endOf({ finishReason, stopString }: Result) {
  if (finishReason === "stop" && stopString !== undefined) return { stop_reason: "stop_sequence", stop_sequence: stopString };
  return { stop_reason: stopReasons[finishReason], stop_sequence: null };
}

/** Nothing costs more for being kept, so there are no tokens of "creation". */
function usage({ model }: Service, result: Result) {
  const { promptTokens, cachedTokens, completionTokens } = result.usage;
  return {
    ...read({ promptTokens, cachedTokens }),
    output_tokens: completionTokens,
    output_tokens_details: { thinking_tokens: usageOf(model, [result]).completion_tokens_details.reasoning_tokens },
  };
}

function read({ promptTokens, cachedTokens }: Pick<Result["usage"], "promptTokens" | "cachedTokens">) {
  return { input_tokens: promptTokens - cachedTokens, cache_creation_input_tokens: 0, cache_read_input_tokens: cachedTokens };
}

async function* events({ service, body, exchange }: Call<MessagesRequest>, { parts, result }: Answer): AsyncGenerator<string, void> {
  let told = "";
  const tell = (type: string, fields: object = {}) => {
    told += event(type, { type, ...fields });
  };
  const begin = (found: Pick<Result["usage"], "promptTokens" | "cachedTokens">) => {
    const message = { ...headOf(service), stop_reason: null, stop_sequence: null, usage: { ...read(found), output_tokens: 0 } };
    tell("message_start", { message });
    tell("ping");
  };
  const blocks = new MessageBlocks(wantsThoughts(body), tell);
  let isFirst = true;
  for await (const { pieces, usage: found } of parts) {
    if (found) begin(found);
    isFirst = false;
    for (const piece of pieces) blocks.push(piece);
    if (told !== "") yield told;
    told = "";
  }
  const whole = await result();
  if (isFirst) begin(whole.usage);
  blocks.end();
  Object.assign(exchange.facts, resultFacts(whole));
  tell("message_delta", { delta: endOf(whole), usage: usage(service, whole) });
  tell("message_stop");
  yield told;
}
