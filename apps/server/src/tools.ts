// Tools as requests list them: functions, which the model may call, and kinds that only the service they were made for can run.

import type { NamedTool, ToolChoice, WrappedTool } from "jamba";
import { badRequest } from "./errors.ts";
import type { FieldOf, Notes } from "./notes.ts";

export interface ReadTools {
  /** What the model is shown; undefined where there is none. */
  readonly tools: readonly WrappedTool[] | undefined;
  /** Of each of `tools`: where it stands in the request. */
  readonly places: readonly number[];
}

/** Reads functions by `read`, which gives undefined for another kind: those, and fields that mean nothing here, are left out with a note. */
export function readTools<T extends { type?: string | null }>(
  all: readonly T[] | undefined,
  read: (tool: T) => NamedTool | undefined,
  notes: Notes,
): ReadTools {
  const tools: WrappedTool[] = [];
  const places: number[] = [];
  for (const [place, tool] of (all ?? []).entries()) {
    const found = read(tool);
    if (found) {
      const { name, description, parameters, strict, ...others } = found;
      for (const key of Object.keys(others)) notes.leftOut.push(`tools[${place}].${key}`);
      tools.push({ type: "function", function: { name, description, parameters, strict } });
      places.push(place);
    } else notes.leftOut.push(`tools[${place}] (${tool.type})`);
  }
  return { tools: tools.length > 0 ? tools : undefined, places };
}

/** Of `allowed_tools`: those that are functions, by their names. */
export function allowedTools(names: readonly (string | undefined)[], mode: "auto" | "required", param: string): ToolChoice {
  const allowed = names.filter((name) => name !== undefined);
  if (allowed.length === 0) throw badRequest(param, "expected at least one function, found none; tools of other kinds are left out");
  return { allowed, mode };
}

/** Clients send a choice even where there are no tools: one that asks for nothing is none. */
export function choiceFor({ tools }: ReadTools, choice: ToolChoice | undefined): ToolChoice | undefined {
  return tools || typeof choice === "object" || choice === "required" ? choice : undefined;
}

/** A request's words for what the engine calls `messages`, `format.schema`, `tools[0].function` and the `parameters` of that. */
export interface Words {
  readonly messages?: string;
  readonly schema?: string;
  readonly tool?: (place: number) => string;
  readonly parameters?: string;
}

export function fieldsOf({ messages, schema, tool, parameters = "parameters" }: Words, { places }: Pick<ReadTools, "places">): FieldOf {
  return (path) => {
    if (path === "messages" || path === "continueFinalMessage") return messages;
    if (schema !== undefined && path.startsWith("format.schema")) return schema + path.slice("format.schema".length);
    const [, index, ofTool, rest] = /^tools\[(\d+)\](?:\.function)?(\.parameters)?(.*)$/s.exec(path) ?? [];
    return index === undefined || !tool ? undefined : tool(places[Number(index)]) + (ofTool ? `.${parameters}` : "") + rest;
  };
}
