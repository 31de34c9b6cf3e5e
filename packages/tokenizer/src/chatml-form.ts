// ChatML with thoughts: the chat form of Jamba Reasoning 3B and Jamba2.

import { type FormInput, pythonJson } from "./chat.ts";
import type { TemplateMessage } from "./messages.ts";

const thinkingPrefix =
  "Begin by thinking about the reasoning process in the mind within <think> </think> tags and then proceed to give your response.\n";

/** `<|im_start|>role\ncontent<|im_end|>\n` per message; an answer begins with its thoughts. */
export function renderChatml({ messages, tools, addGenerationPrompt, bosToken }: FormInput): string {
  const [first, ...others] = messages;
  const [system, rest] = first?.role === "system" ? [first.content, others] : ["", messages];
  const head = system + toolDefinitions(tools, system !== "");
  const turns = head === "" ? [] : [turn("system", head)];
  const lastUser = rest.findLastIndex((message) => message.role === "user");
  for (let i = 0; i < rest.length; i++) {
    const message = rest[i];
    if (message.role === "user") turns.push(turn("user", (wantsThoughts(rest, i, lastUser) ? thinkingPrefix : "") + message.content));
    if (message.role === "system") turns.push(turn("system", message.content));
    if (message.role === "assistant") turns.push(turn("assistant", answer(message, i > lastUser)));
    if (message.role === "tool") {
      // Results that follow one another share a user turn.
      const results = [message.content];
      while (rest[i + 1]?.role === "tool") results.push(rest[++i].content);
      turns.push(turn("user", results.map((result) => `<tool_response>\n${result}\n</tool_response>`).join("\n")));
    }
  }
  const text = bosToken + turns.join("");
  return addGenerationPrompt ? `${text}<|im_start|>assistant\n<think>\n` : text;
}

function turn(role: string, content: string): string {
  return `<|im_start|>${role}\n${content}<|im_end|>\n`;
}

/** The last question, and earlier ones whose answer keeps its thoughts, unless they speak of thoughts themselves. */
function wantsThoughts(messages: readonly TemplateMessage[], i: number, lastUser: number): boolean {
  if (messages[i].content.includes("<think>")) return false;
  const reply = messages[i + 1];
  return i === lastUser || (reply?.role === "assistant" && thoughtsOf(reply).thoughts !== undefined);
}

/** Thoughts stay only after the last question: earlier ones would fill the context. */
function answer(message: TemplateMessage, keepThoughts: boolean): string {
  const { thoughts, content } = thoughtsOf(message);
  const calls = (message.tool_calls ?? []).map(({ function: call }) => {
    const args = typeof call.arguments === "string" ? call.arguments : pythonJson(call.arguments);
    return `<tool_call>\n{"name": ${JSON.stringify(call.name)}, "arguments": ${args}}\n</tool_call>`;
  });
  const parts = [content, ...calls].filter((part) => part !== "").join("\n");
  return keepThoughts && thoughts !== undefined ? `<think>\n${thoughts}\n</think>\n\n${parts}` : parts;
}

function thoughtsOf({ content, reasoning_content: reasoning }: TemplateMessage): { thoughts?: string; content: string } {
  if (reasoning !== undefined) return { thoughts: reasoning.trim(), content };
  const found = /^\s*(?:<think>)?([\s\S]*?)<\/think>\s*([\s\S]*)$/.exec(content);
  return found ? { thoughts: found[1].trim(), content: found[2] } : { content };
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
