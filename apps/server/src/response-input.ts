// What a response goes on from: its input's items, and those that are kept from earlier ones, as messages.

import type { Message } from "jamba";
import { ApiError, badRequest } from "./errors.ts";
import type { Notes } from "./notes.ts";
import type { ResponseStore } from "./response-store.ts";
import type { ResponseRequest } from "./schemas/requests.ts";
import { joinAnswers } from "./turns.ts";

export type InputItem = Exclude<ResponseRequest["input"], string>[number];

/** A conversation: what is kept of it, and what the request brought. */
export interface Items {
  readonly earlier: readonly InputItem[];
  readonly own: readonly InputItem[];
}

/**
 * @param maxBytes of what it refers to, since a short request may name a long item many times
 * @throws ApiError 404 for what is not kept, 413 for more than `maxBytes`
 */
export function itemsOf({ input, previous_response_id: previous }: ResponseRequest, store: ResponseStore, maxBytes: number): Items {
  const earlier = previous === undefined ? [] : store.historyOf(previous);
  if (!earlier)
    throw new ApiError(
      404,
      `previous_response_id: expected a response that this server keeps, found ${JSON.stringify(previous)}; ${lost}`,
      {
        param: "previous_response_id",
        code: "previous_response_not_found",
      },
    );
  const given: readonly InputItem[] = typeof input === "string" ? [{ role: "user", content: input }] : input;
  let bytes = 0;
  const own = given.map((item, i) => {
    if (!isReference(item)) return item;
    const found = referred(item.id, i, store);
    bytes += Buffer.byteLength(JSON.stringify(found));
    if (bytes > maxBytes) throw tooLarge(i, maxBytes);
    return found;
  });
  return { earlier, own };
}

const lost = "it keeps the last ones in memory, and none of a request with store: false; send the whole conversation as input";

function referred(id: string, i: number, store: ResponseStore): InputItem {
  const found = store.itemOf(id);
  if (found) return found;
  const param = `input[${i}].id`;
  throw new ApiError(404, `${param}: expected an item that this server keeps, found ${JSON.stringify(id)}; ${lost}`, {
    param,
    code: "item_not_found",
  });
}

function tooLarge(i: number, maxBytes: number): ApiError {
  const param = `input[${i}].id`;
  return new ApiError(413, `${param}: expected references to at most ${maxBytes} bytes in all, found more`, {
    param,
    code: "request_too_large",
  });
}

function isReference(item: InputItem): item is Extract<InputItem, { id: string }> {
  return "id" in item && (item.type === undefined || item.type === null || item.type === "item_reference");
}

/** What was left out of earlier items was told then. @throws ApiError where none is left */
export function messagesOf(instructions: string | undefined, { earlier, own }: Items, notes: Notes): Message[] {
  const brought = own.map((item, i) => {
    const message = messageOf(item);
    if (!message) notes.leftOut.push(`input[${i}] (${item.type})`);
    return message;
  });
  const said = [...earlier.map(messageOf), ...brought].filter((message) => message !== undefined);
  const messages = joinAnswers([...(instructions === undefined ? [] : [{ role: "system" as const, content: instructions }]), ...said]);
  if (messages.length === 0) throw badRequest("input", "expected a message, found none");
  return messages;
}

function messageOf(item: InputItem): Message | undefined {
  if ("role" in item) return { role: item.role === "developer" ? "system" : item.role, content: textOf(item.content) };
  if ("output" in item) return { role: "tool", content: textOf(item.output), tool_call_id: item.call_id };
  if ("arguments" in item) {
    const called = { name: item.name, arguments: item.arguments };
    return { role: "assistant", content: "", tool_calls: [{ id: item.call_id, type: "function", function: called }] };
  }
  if (item.type !== "reasoning" || !("content" in item)) return undefined;
  const { content = [], summary = [] } = item;
  return { role: "assistant", content: "", reasoning_content: textOf(content.length > 0 ? content : summary) };
}

function textOf(content: string | readonly { text: string }[]): string {
  return typeof content === "string" ? content : content.map(({ text }) => text).join("");
}
