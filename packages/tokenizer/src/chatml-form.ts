// ChatML with thoughts: the chat form of Jamba Reasoning 3B and Jamba2, character for character as the published template writes it.

import { pythonJson } from "./json.ts";
import type { FormInput, TemplateMessage } from "./messages.ts";

const thinkingPrefix =
  "Begin by thinking about the reasoning process in the mind within <think> </think> tags and then proceed to give your response.\n";

/** `<|im_start|>role\ncontent<|im_end|>\n` per message; an answer begins with its thoughts. */
export function renderChatml({ messages, tools, addGenerationPrompt, bosToken }: FormInput): string {
  const system = messages[0]?.role === "system" ? messages[0].content : undefined;
  let text = bosToken;
  if (tools.length > 0) text += turn("system", `${system === undefined ? "" : `${system}\n\n`}${toolDefinitions(tools)}`);
  else if (system !== undefined) text += turn("system", system);
  const lastQuestion = lastQuestionOf(messages);
  for (let i = system === undefined ? 0 : 1; i < messages.length; i++) {
    const message = messages[i];
    if (message.role === "system") text += turn("system", message.content);
    if (message.role === "user") text += turn("user", (wantsThoughts(message, messages[i + 1]) ? thinkingPrefix : "") + message.content);
    if (message.role === "assistant") text += turn("assistant", answer(message, i > lastQuestion));
    if (message.role === "tool") {
      // Results that follow one another share a user turn.
      const results = [message.content];
      while (messages[i + 1]?.role === "tool") results.push(messages[++i].content);
      text += turn("user", results.map((result) => `<tool_response>\n${result}\n</tool_response>`).join("\n"));
    }
  }
  return addGenerationPrompt ? `${text}<|im_start|>assistant\n<think>\n` : text;
}

function turn(role: string, content: string): string {
  return `<|im_start|>${role}\n${content}<|im_end|>\n`;
}

/** Some write the result of a tool as a user's message; that is no question. */
function lastQuestionOf(messages: readonly TemplateMessage[]): number {
  const found = messages.findLastIndex(
    ({ role, content }) => role === "user" && !(content.startsWith("<tool_response>") && content.endsWith("</tool_response>")),
  );
  return found < 0 ? messages.length - 1 : found;
}

/** A question that ends the conversation, or whose answer has thoughts, unless it speaks of thoughts itself. */
function wantsThoughts(question: TemplateMessage, next: TemplateMessage | undefined): boolean {
  if (question.content.includes("<think>")) return false;
  if (next === undefined || next.reasoning_content !== undefined) return true;
  return next.role === "assistant" && next.content.startsWith("<think>");
}

/** Thoughts stay only after the last question: earlier ones would fill the context. */
function answer(message: TemplateMessage, keepThoughts: boolean): string {
  const { thoughts, content } = thoughtsOf(message);
  const calls = (message.tool_calls ?? []).map(({ function: call }) => {
    return `<tool_call>\n{"name": "${call.name}", "arguments": ${pythonJson(call.arguments)}}\n</tool_call>`;
  });
  const kept = keepThoughts && thoughts !== "";
  const text = kept ? `<think>\n${trimLines(thoughts)}\n</think>\n\n${content.replace(/^\n+/, "")}` : content;
  // The template puts a line break before the first call only where the answer has words.
  return text + (content !== "" && calls.length > 0 ? "\n" : "") + calls.join("\n");
}

function thoughtsOf({ content, reasoning_content: reasoning }: TemplateMessage): { thoughts: string; content: string } {
  if (reasoning !== undefined) return { thoughts: reasoning, content };
  const end = content.indexOf("</think>");
  if (end < 0) return { thoughts: "", content };
  const thoughts = content.slice(0, end).split("<think>").at(-1)!;
  return { thoughts: trimLines(thoughts), content: content.split("</think>").at(-1)!.replace(/^\n+/, "") };
}

function trimLines(text: string): string {
  let [start, end] = [0, text.length];
  while (text[start] === "\n") start++;
  while (end > start && text[end - 1] === "\n") end--;
  return text.slice(start, end);
}

function toolDefinitions(tools: FormInput["tools"]): string {
  const listed = tools.map((tool) => `\n${pythonJson(tool)}`).join("");
  return `# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>${listed}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>`;
}
