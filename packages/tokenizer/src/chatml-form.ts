// ChatML with thoughts: the chat form of Jamba Reasoning 3B and Jamba2.

import { type FormInput, pythonJson } from "./chat.ts";
import type { TemplateMessage } from "./messages.ts";

const thinkingPrefix =
  "Begin by thinking about the reasoning process in the mind within <think> </think> tags and then proceed to give your response.\n";

/** `<|im_start|>role\ncontent<|im_end|>\n` per message; an answer begins with its thoughts. */
export function renderChatml({ messages, tools, addGenerationPrompt, bosToken }: FormInput): string {
  const system = messages[0]?.role === "system" ? messages[0].content : undefined;
  const turns: string[] = [];
  if (system !== undefined || tools.length > 0) turns.push(turn("system", (system ?? "") + toolDefinitions(tools, system !== undefined)));
  const lastUser = messages.findLastIndex(
    (message) => message.role === "user" && !/^<tool_response>[\s\S]*<\/tool_response>$/.test(message.content),
  );
  const lastQuery = lastUser < 0 ? messages.length - 1 : lastUser;
  for (let i = system === undefined ? 0 : 1; i < messages.length; i++) {
    const message = messages[i];
    if (message.role === "user")
      turns.push(turn("user", (wantsThoughts(message, messages[i + 1]) ? thinkingPrefix : "") + message.content));
    if (message.role === "system") turns.push(turn("system", message.content));
    if (message.role === "assistant") turns.push(turn("assistant", answer(message, i > lastQuery)));
    if (message.role === "tool") {
      // Results that follow one another share a user turn.
      const results = [message.content];
      while (messages[i + 1]?.role === "tool") results.push(messages[++i].content);
      turns.push(turn("user", results.map((result) => `<tool_response>\n${result}\n</tool_response>`).join("\n")));
    }
  }
  const text = bosToken + turns.join("");
  return addGenerationPrompt ? `${text}<|im_start|>assistant\n<think>\n` : text;
}

function turn(role: string, content: string): string {
  return `<|im_start|>${role}\n${content}<|im_end|>\n`;
}

/** A question that is to be answered, or whose answer thought aloud, unless it speaks of thoughts itself. */
function wantsThoughts(question: TemplateMessage, next: TemplateMessage | undefined): boolean {
  if (question.content.includes("<think>")) return false;
  return next === undefined || next.reasoning_content !== undefined || (next.role === "assistant" && next.content.startsWith("<think>"));
}

/** Thoughts stay only after the last question: earlier ones would fill the context. */
function answer(message: TemplateMessage, keepThoughts: boolean): string {
  const { thoughts, content } = thoughtsOf(message);
  const calls = (message.tool_calls ?? []).map(({ function: call }) => {
    const args = typeof call.arguments === "string" ? call.arguments : pythonJson(call.arguments);
    return `<tool_call>\n{"name": "${call.name}", "arguments": ${args}}\n</tool_call>`;
  });
  const parts = [content, ...calls].filter((part) => part !== "").join("\n");
  return keepThoughts && thoughts ? `<think>\n${trimLines(thoughts)}\n</think>\n\n${parts.replace(/^\n+/, "")}` : parts;
}

/** What stands before the first `</think>`, and what after the last. */
function thoughtsOf({ content, reasoning_content: reasoning }: TemplateMessage): { thoughts?: string; content: string } {
  if (reasoning !== undefined) return { thoughts: reasoning, content };
  const ends = content.split("</think>");
  if (ends.length === 1) return { content };
  return { thoughts: trimLines(ends[0].split("<think>").at(-1)!), content: ends.at(-1)!.replace(/^\n+/, "") };
}

function trimLines(text: string): string {
  return text.replace(/^\n+|\n+$/g, "");
}

function toolDefinitions(tools: FormInput["tools"], afterText: boolean): string {
  if (tools.length === 0) return "";
  const listed = tools.map((tool) => `\n${pythonJson({ type: "function", function: tool.function })}`).join("");
  return `${afterText ? "\n\n" : ""}# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>${listed}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>`;
}
