// The chat form of Jamba 1.5, 1.6 and 1.7, character for character as the published template writes it.

import { titleCase } from "./jinja/methods.ts";
import { isObject, type Json, pythonJson } from "./json.ts";
import type { FormInput, TemplateMessage } from "./messages.ts";

/** bos, then `<|bom|><|role|> content<|eom|>` per message. The system message is there even when empty. */
export function renderJamba(input: FormInput): string {
  const { messages, tools, documents, knobs, addGenerationPrompt, generationPreamble, bosToken } = input;
  const [first, ...others] = messages;
  const [system, rest] = first?.role === "system" ? [first.content, others] : ["", messages];
  const turns = [`<|bom|><|system|> ${system}${toolDefinitions(tools, system !== "")}`];
  const lastUser = rest.findLastIndex((message) => message.role === "user");
  const extra = [documentList(documents), activeModes(knobs)].filter((part) => part !== "").join("\n\n");
  for (const [i, message] of rest.entries()) {
    // Without a question, documents stand before the first message.
    if (i === Math.max(0, lastUser) && extra) turns.push(`<|bom|><|system|> ${extra}`);
    const name = message.name === undefined ? "" : `(${message.name})`;
    const after = message.role === "assistant" ? toolCalls(message) + citations(message, knobs) : "";
    turns.push(`<|bom|><|${message.role}|> ${name}${message.content}${after}`);
  }
  const text = `${bosToken}${turns.join("<|eom|>")}<|eom|>`;
  if (!addGenerationPrompt) return text;
  return `${text}<|bom|><|assistant|>${generationPreamble.trim() === "" ? "" : ` ${generationPreamble}`}`;
}

function toolDefinitions(tools: FormInput["tools"], afterText: boolean): string {
  if (tools.length === 0) return "";
  const listed = tools.map((tool) => `\n\n${pythonJson(tool.function, 2)}`).join("");
  return `${afterText ? "\n\n" : ""}<tool_definitions>\n# Tools\n\n## Functions${listed}\n</tool_definitions>`;
}

function toolCalls({ tool_calls: calls = [] }: TemplateMessage): string {
  if (calls.length === 0) return "";
  const listed = calls.map(({ function: call }) => `{"name": "${call.name}", "arguments": ${pythonJson(call.arguments)}}`);
  return `<tool_calls>[\n    ${listed.join(",\n    ")}\n]</tool_calls>`;
}

function citations({ citations: cited }: TemplateMessage, knobs: Json | undefined): string {
  if (!cited || !areSet(knobs) || knobs.citation_mode === "off") return "";
  return `<citations>[${cited.map((citation) => citation.document_id).join(", ")}]</citations>`;
}

function documentList(documents: readonly Json[]): string {
  if (documents.length === 0) return "";
  const listed = documents.map(({ title, text, ...others }, i) => {
    const lines = [`## Document ID: ${i}`];
    if (title !== undefined && title !== null) lines.push(`Title: ${pythonText(title)}`);
    for (const [key, value] of Object.entries(others)) if (value !== undefined) lines.push(`${titleCase(key)}: ${pythonText(value)}`);
    lines.push(`Text: ${text}`);
    return `\n\n${lines.join("\n")}`;
  });
  return `<documents>\n# Documents\n\nYou can use the following documents for reference:${listed.join("")}\n</documents>`;
}

/** The sentences that the models were trained on. */
function activeModes(knobs: Json | undefined): string {
  if (!areSet(knobs)) return "";
  let modes = "";
  if (knobs.citation_mode === "fast")
    modes +=
      "\n\n## Citation Mode\n\nProvide a list of references only for the documents you base your response on. Format your response with the original answer followed by a citation section. Use this template: `{answer}<citations>DOCUMENT_IDS</citations>`, where DOCUMENT_IDS are the relevant document numbers (e.g. [2, 5, 9]), or [] if the answer cannot be supported by the provided documents.";
  if (knobs.response_format === "json_object")
    modes +=
      "\n\n## JSON Mode\n\nProvide your response in JSON format. Adhere strictly to any schema given by the user. If an appropriate JSON format exists, use it without modification.";
  if (modes === "" && knobs.is_set !== true) return "";
  return `<active_output_modes>\n# Active Modes\n\nThe following modes configure the format or style of your responses. You should adhere to all currently active modes simultaneously.${modes}\n</active_output_modes>`;
}

/** The published template wants `is_set: true`; knobs that someone passes are meant to be set. */
function areSet(knobs: Json | undefined): knobs is Json {
  return knobs !== undefined && knobs.is_set !== false;
}

/** As Python's str, but for lists and objects, which are JSON here. */
function pythonText(value: unknown): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (value === null) return "None";
  return Array.isArray(value) || isObject(value) ? pythonJson(value) : String(value);
}
