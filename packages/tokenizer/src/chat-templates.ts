// The chat templates of a checkpoint: one, or several with names.

import { TokenizerError } from "@jamba/core";
import { isObject, type Json, show } from "./json.ts";

/** By name; one without a name is the only one, whatever is asked for. */
export type ChatTemplates = string | ReadonlyMap<string, string> | undefined;

/**
 * `chat_template` of tokenizer_config.json: a text, a list of `{ name, template }`, or an object of them by name.
 * @throws TokenizerError for anything else
 */
export function readTemplates({ chat_template: found }: Json): ChatTemplates {
  if (found === undefined || found === null) return undefined;
  if (typeof found === "string") return found;
  const entries = Array.isArray(found)
    ? found.map((entry) => (isObject(entry) ? [entry.name, entry.template] : [undefined, undefined]))
    : Object.entries(isObject(found) ? found : {});
  const isNamed = (entry: unknown[]): entry is [string, string] => entry.every((part) => typeof part === "string");
  if (entries.length === 0 || !entries.every(isNamed))
    throw new TokenizerError(
      `tokenizer_config.json: chat_template: expected a text or a list of { name, template }, found ${show(found)}; is the file damaged?`,
    );
  return new Map(entries);
}

/**
 * The template for a chat, as transformers chooses it: with tools the one named tool_use, if there is one, else the default.
 * @param asked a template, or the name of one
 * @throws TokenizerError where there are only others
 */
export function chooseTemplate(templates: ChatTemplates, asked: string | undefined, hasTools: boolean): string | undefined {
  if (templates === undefined || typeof templates === "string") return asked ?? templates;
  if (asked !== undefined) return templates.get(asked) ?? asked;
  const found = (hasTools ? templates.get("tool_use") : undefined) ?? templates.get("default");
  if (found !== undefined) return found;
  throw new TokenizerError(
    `chat template: expected one named default${hasTools ? " or tool_use" : ""}, found ${[...templates.keys()].sort().join(", ")}; pass the name of one as \`template\``,
  );
}
