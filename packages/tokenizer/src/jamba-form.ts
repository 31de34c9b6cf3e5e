// The chat form of Jamba 1.5, 1.6 and 1.7.

import { type FormInput, pythonJson } from "./chat.ts";
import type { TemplateMessage } from "./messages.ts";
import type { Json } from "./tokenizer-json.ts";

/** bos, then `<|bom|><|role|> content` per message, joined by `<|eom|>`. The system message is there even when empty. */
export function renderJamba({ messages, tools, documents, knobs, addGenerationPrompt, bosToken }: FormInput): string {
  const [first, ...others] = messages;
  const [system, rest] = first?.role === "system" ? [first.content, others] : ["", messages];
  const turns = [`<|bom|><|system|> ${system}${toolDefinitions(tools, system !== "")}`];
  const lastUser = rest.findLastIndex((message) => message.role === "user");
  const extra = [documentList(documents), activeModes(knobs)].filter((part) => part !== "").join("\n\n");
  for (const [i, message] of rest.entries()) {
    if (i === lastUser && extra) turns.push(`<|bom|><|system|> ${extra}`);
    turns.push(
      `<|bom|><|${message.role}|> ${message.name === undefined ? "" : `(${message.name})`}${message.content}${toolCalls(message)}`,
    );
  }
  const text = bosToken + turns.join("<|eom|>");
  return addGenerationPrompt ? `${text}<|eom|><|bom|><|assistant|>` : text;
}

function toolDefinitions(tools: FormInput["tools"], afterText: boolean): string {
  if (tools.length === 0) return "";
  const listed = tools.map((tool) => `\n\n${pythonJson(tool.function, 2)}`).join("");
  return `${afterText ? "\n\n" : ""}<tool_definitions>\n# Tools\n\n## Functions${listed}\n</tool_definitions>`;
}

function toolCalls({ tool_calls: calls = [] }: TemplateMessage): string {
  if (calls.length === 0) return "";
  const listed = calls.map(({ function: call }) => {
    const args = typeof call.arguments === "string" ? call.arguments : pythonJson(call.arguments);
    return `{"name": "${call.name}", "arguments": ${args}}`;
  });
  return `<tool_calls>[\n    ${listed.join(",\n    ")}\n]</tool_calls>`;
}

function documentList(documents: readonly Json[]): string {
  if (documents.length === 0) return "";
  const listed = documents.map(({ title, text, ...others }, i) => {
    const lines = [`## Document ID: ${i}`];
    if (title !== undefined) lines.push(`Title: ${title}`);
    for (const [key, value] of Object.entries(others)) lines.push(`${titleCase(key)}: ${value}`);
    lines.push(`Text: ${text ?? ""}`);
    return `\n\n${lines.join("\n")}`;
  });
  return `<documents>\n# Documents\n\nYou can use the following documents for reference:${listed.join("")}\n</documents>`;
}

function activeModes({ citation_mode: citation, response_format: format }: Json): string {
  const modes: string[] = [];
  if (citation === "fast") modes.push("\n\n## Citation Mode\nCite the documents that an answer rests on.");
  if (format === "json_object") modes.push("\n\n## JSON Mode\nAnswer with one JSON object.");
  if (modes.length === 0) return "";
  return `<active_output_modes>\n# Active Modes\n\nThe following modes configure the format of your answers.${modes.join("")}\n</active_output_modes>`;
}

/** As Python's str.title: a capital after anything that is not a letter. */
function titleCase(key: string): string {
  return key.toLowerCase().replace(/(^|[^a-z])([a-z])/g, (_, before: string, letter: string) => before + letter.toUpperCase());
}
