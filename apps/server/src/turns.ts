// Turns of a conversation, however the API that they come by cuts them.

import type { Message } from "jamba";

/** The thoughts, the text and the calls of one answer as one message; thoughts alone are none. */
export function joinAnswers(messages: readonly Message[]): Message[] {
  const turns: Message[][] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    if (message.role === "assistant" && last?.[0].role === "assistant") last.push(message);
    else turns.push([message]);
  }
  return turns.map(joinedTurn).filter(({ role, content, tool_calls: calls, reasoning_content: reasoning }) => {
    return role !== "assistant" || content !== "" || calls !== undefined || reasoning === undefined;
  });
}

/** All at once: what grows by each of many messages would be copied as often. */
function joinedTurn(turn: readonly Message[]): Message {
  if (turn.length === 1) return turn[0];
  const calls = turn.flatMap((message) => message.tool_calls ?? []);
  const reasoning = turn
    .map((message) => message.reasoning_content)
    .filter(Boolean)
    .join("\n");
  return {
    role: "assistant",
    content: turn.map(({ content }) => content ?? "").join(""),
    ...(calls.length > 0 && { tool_calls: calls }),
    ...(reasoning !== "" && { reasoning_content: reasoning }),
  };
}
