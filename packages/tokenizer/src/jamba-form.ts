// The chat form of Jamba 1.5, 1.6 and 1.7.

import { type FormInput, pythonJson } from "./chat.ts";
import type { TemplateMessage } from "./messages.ts";
import type { Json } from "./tokenizer-json.ts";

/** bos, then `<|bom|><|role|> content<|eom|>` per message. The system message is there even when empty. */
export function renderJamba({ messages, tools, documents, knobs, addGenerationPrompt, generationPreamble, bosToken }: FormInput): string {
  const [first, ...others] = messages;
  const [system, rest] = first?.role === "system" ? [first.content, others] : ["", messages];
  const turns = [`<|bom|><|system|> ${system}${toolDefinitions(tools, system !== "")}`];
  const modes = Object.keys(knobs).length > 0 && knobs.is_set !== false;
  const extra = [documentList(documents), modes ? activeModes(knobs) : ""].filter((part) => part !== "").join("\n\n");
  const lastUser = Math.max(
    0,
    rest.findLastIndex((message) => message.role === "user"),
  );
  for (const [i, message] of rest.entries()) {
    if (i === lastUser && extra) turns.push(`<|bom|><|system|> ${extra}`);
    const name = message.name === undefined ? "" : `(${message.name})`;
    const after =
      message.role === "assistant" ? toolCalls(message) + (modes && knobs.citation_mode !== "off" ? citations(message) : "") : "";
    turns.push(`<|bom|><|${message.role}|> ${name}${message.content}${after}`);
  }
  const text = `${bosToken}${turns.join("<|eom|>")}<|eom|>`;
  if (!addGenerationPrompt) return text;
  return `${text}<|bom|><|assistant|>${generationPreamble?.trim() ? ` ${generationPreamble}` : ""}`;
}

function citations({ citations: found }: TemplateMessage): string {
  return found ? `<citations>[${found.map((one) => one.document_id).join(", ")}]</citations>` : "";
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
    if (title !== undefined && title !== null) lines.push(`Title: ${title}`);
    for (const [key, value] of Object.entries(others)) lines.push(`${titleCase(key)}: ${pythonText(value)}`);
    lines.push(`Text: ${text ?? ""}`);
    return `\n\n${lines.join("\n")}`;
  });
  return `<documents>\n# Documents\n\nYou can use the following documents for reference:${listed.join("")}\n</documents>`;
}

/** The wording is the one that the models were trained with. */
function activeModes({ citation_mode: citation, response_format: format }: Json): string {
  const modes: string[] = [];
  if (citation === "fast") {
    modes.push(
      "\n\n## Citation Mode\n\nProvide a list of references only for the documents you base your response on. Format your response" +
        " with the original answer followed by a citation section. Use this template:" +
        " `{answer}<citations>DOCUMENT_IDS</citations>`, where DOCUMENT_IDS are the relevant document numbers" +
        " (e.g. [2, 5, 9]), or [] if the answer cannot be supported by the provided documents.",
    );
  }
  if (format === "json_object") {
    modes.push(
      "\n\n## JSON Mode\n\nProvide your response in JSON format. Adhere strictly to any schema given by the user." +
        " If an appropriate JSON format exists, use it without modification.",
    );
  }
  const opening =
    "The following modes configure the format or style of your responses. You should adhere to all currently active modes simultaneously.";
  return `<active_output_modes>\n# Active Modes\n\n${opening}${modes.join("")}\n</active_output_modes>`;
}

/** As Jinja's title filter: a capital after white space, a hyphen or an opening bracket, small letters elsewhere. */
function titleCase(key: string): string {
  return key.toLowerCase().replace(/(^|[-\s({[<]+)(.)/g, (_, before: string, letter: string) => before + letter.toUpperCase());
}

/** As Python's str writes a value. */
function pythonText(value: unknown): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (value === null || value === undefined) return "None";
  return typeof value === "object" ? pythonJson(value) : String(value);
}
