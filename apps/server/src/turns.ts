// Turns of a conversation, however the API that they come by cuts them.

import type { Message } from "jamba";

/** The thoughts, the text and the calls of one answer as one message; thoughts alone are none. */
export function joinAnswers(messages: readonly Message[]): Message[] {
  const joined: Message[] = [];
  for (const message of messages) {
    const last = joined.at(-1);
    if (message.role !== "assistant" || last?.role !== "assistant") joined.push(message);
    else {
      const calls = [...(last.tool_calls ?? []), ...(message.tool_calls ?? [])];
      const reasoning = [last.reasoning_content, message.reasoning_content].filter(Boolean).join("\n");
      joined[joined.length - 1] = {
        role: "assistant",
        content: `${last.content ?? ""}${message.content ?? ""}`,
        ...(calls.length > 0 && { tool_calls: calls }),
        ...(reasoning !== "" && { reasoning_content: reasoning }),
      };
    }
  }
  return joined.filter(({ role, content, tool_calls: calls, reasoning_content: reasoning }) => {
    return role !== "assistant" || content !== "" || calls !== undefined || reasoning === undefined;
  });
}
