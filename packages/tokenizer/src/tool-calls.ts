import type { ToolCall } from "./messages.ts";
import { isObject, type Json } from "./tokenizer-json.ts";

/**
 * Finds the calls in an answer: `<tool_calls>[…]</tool_calls>` (Jamba 1.5) or `<tool_call>{…}</tool_call>`, any number.
 * What is not well-formed JSON of that shape is text, not a call.
 */
export function parseToolCalls(text: string): { content: string; toolCalls: ToolCall[] } {
  for (const pattern of [/<tool_calls>([\s\S]*?)<\/tool_calls>/g, /<tool_call>([\s\S]*?)<\/tool_call>/g]) {
    const calls = [...text.matchAll(pattern)].map(([, body]) => parseCalls(body));
    if (calls.length === 0 || calls.includes(undefined)) continue;
    return { content: text.replace(pattern, "").trim(), toolCalls: calls.flatMap((some) => some!) };
  }
  return { content: text, toolCalls: [] };
}

function parseCalls(body: string): ToolCall[] | undefined {
  try {
    const calls: unknown[] = [JSON.parse(body)].flat();
    if (!calls.every((call) => isObject(call) && typeof (call as Json).name === "string")) return undefined;
    return (calls as Json[]).map((call) => ({ name: call.name as string, arguments: call.arguments ?? {} }));
  } catch {
    return undefined;
  }
}
