import { isObject } from "./json.ts";
import type { ToolCall } from "./messages.ts";

/**
 * Finds the calls in an answer: `<tool_calls>[…]</tool_calls>` (Jamba 1.5) or `<tool_call>{…}</tool_call>`, any number.
 * What is not well-formed JSON of that shape is text, not a call.
 */
export function parseToolCalls(text: string): { content: string; toolCalls: ToolCall[] } {
  for (const tag of ["tool_calls", "tool_call"]) {
    const { inside, outside } = cutOut(text, `<${tag}>`, `</${tag}>`);
    const calls = inside.map(parseCalls);
    if (calls.length > 0 && !calls.includes(undefined)) return { content: outside.trim(), toolCalls: calls.flatMap((some) => some!) };
  }
  return { content: text, toolCalls: [] };
}

/** A regular expression would look for the end of each opening tag anew; this reads the text once. */
function cutOut(text: string, open: string, close: string): { inside: string[]; outside: string } {
  const inside: string[] = [];
  let outside = "";
  let at = 0;
  for (;;) {
    const start = text.indexOf(open, at);
    const end = start < 0 ? -1 : text.indexOf(close, start + open.length);
    if (end < 0) return { inside, outside: outside + text.slice(at) };
    outside += text.slice(at, start);
    inside.push(text.slice(start + open.length, end));
    at = end + close.length;
  }
}

function parseCalls(body: string): ToolCall[] | undefined {
  try {
    const found: unknown = JSON.parse(body);
    const calls = (Array.isArray(found) ? found : [found]).map((call: unknown) => {
      if (!isObject(call) || typeof call.name !== "string") return undefined;
      return { name: call.name, arguments: call.arguments ?? {} };
    });
    return calls.length > 0 && calls.every((call) => call !== undefined) ? calls : undefined;
  } catch {
    return undefined;
  }
}
