// What the file of a session says beside its state. It may come from anybody, so it is checked whole before anything of it is used: what
// is taken works in every later turn.

import { JambaError, LoadError } from "@jamba/core";
import type { Message } from "@jamba/tokenizer";
import type { AnswerPartsOptions } from "./answer/answer-parts.ts";
import type { GenerateContext } from "./answer/generate.ts";
import { type CheckedOptions, checkOptions, type GenerateOptions } from "./answer/options.ts";
import { expectTokenizer, renderMessages } from "./answer/prompt.ts";
import { beside, decode } from "./answer/reading.ts";

/** An answer is kept as it was written, so that its tokens need not be read again; beside it the ids of its calls, and what reads it. */
export type WrittenMessage = Message & { readonly callIds?: readonly string[]; readonly readAs?: ReadAs };

/** How the parts of an answer are told from each other, as they were when it came. */
export type ReadAs = Pick<AnswerPartsOptions, "thoughts" | "calls"> & { readonly isCut: boolean };

export interface SessionMeta {
  readonly messages: readonly WrittenMessage[];
  readonly options: CheckedOptions;
}

/** Deeper than what people and programs write, and as deep as any program that walks it can go. */
const mostDepth = 256;

/** What no file may say: whose a session is says who opens it, and the others are no JSON. */
const notInFiles = ["tenant", "request", "signal", "onToken"];

/** What is written: options without what runs, and what belongs to whoever opens the session. @throws JambaError OPTION for what is no plain JSON */
export function writtenMeta({ messages, options: { runners: _, answerSchema: __, ...options } }: SessionMeta): object {
  const meta = { messages, options: Object.fromEntries(Object.entries(options).filter(([name]) => !notInFiles.includes(name))) };
  const fault = faultOf(meta);
  if (fault) throw new JambaError("OPTION", `save: expected messages and options of a session, found ${fault}`);
  return meta;
}

/**
 * @param ids what the state has read
 * @throws LoadError unless it is what `save` writes, and a turn can go on from it; the signal's reason
 */
export async function readMeta(
  path: string,
  meta: unknown,
  ids: readonly number[],
  context: GenerateContext,
  signal?: AbortSignal,
): Promise<SessionMeta> {
  const fault = faultOf(meta);
  if (fault) throw notOfSession(path, fault);
  const { messages, options } = (meta ?? {}) as { messages?: unknown; options?: unknown };
  if (!Array.isArray(messages) || typeof options !== "object" || options === null || Array.isArray(options))
    throw notOfSession(path, "a state of something else");
  const wrong = messages.findIndex((message) => !isWritten(message));
  if (wrong >= 0) throw notOfSession(path, `something else as message ${wrong}`);
  const name = notInFiles.find((one) => Object.hasOwn(options, one));
  if (name) throw notOfSession(path, `${name} among the options`);
  try {
    const checked = checkOptions(options as GenerateOptions);
    await expectTurns(messages, checked, ids, context, signal);
    return { messages, options: checked };
  } catch (cause) {
    signal?.throwIfAborted();
    throw notOfSession(path, `what no turn can go on from: ${(cause as Error).message}`, cause);
  }
}

/** @throws what the next turn would */
async function expectTurns(
  messages: readonly WrittenMessage[],
  options: CheckedOptions,
  ids: readonly number[],
  { tokenizer, constraints }: GenerateContext,
  signal: AbortSignal | undefined,
): Promise<void> {
  await beside(decode(expectTokenizer(tokenizer), ids), signal);
  const asked: readonly Message[] = [...messages, { role: "user", content: "" }];
  const { form } = await beside(renderMessages(tokenizer, asked, { ...options, continueFinalMessage: false }), signal);
  const { format, tools, toolChoice, parallelToolCalls, tenant } = options;
  if (!format && !tools?.length && toolChoice === undefined) return;
  const spec = { format, tools, toolChoice, parallelToolCalls, form: form.name, thoughts: form.thoughts };
  const constraint = await constraints?.open(spec, { tenant, signal });
  constraint?.dispose();
}

function isWritten(message: unknown): message is WrittenMessage {
  if (typeof message !== "object" || message === null || Array.isArray(message)) return false;
  const { callIds, readAs } = message as { callIds?: unknown; readAs?: unknown };
  const hasIds = callIds === undefined || (Array.isArray(callIds) && callIds.every((id) => typeof id === "string"));
  return hasIds && (readAs === undefined || isReadAs(readAs));
}

function isReadAs(value: unknown): value is ReadAs {
  if (typeof value !== "object" || value === null) return false;
  const { thoughts, calls, isCut, ...others } = value as Record<string, unknown>;
  const isKind = calls === undefined || ["none", "found", "offered", "forced"].includes(calls as string);
  return (
    isKind && typeof isCut === "boolean" && (thoughts === undefined || typeof thoughts === "boolean") && Object.keys(others).length === 0
  );
}

/** Why JSON is none that anything can be done with. Goes through it without recursion, which the depth of hostile JSON would end. */
function faultOf(json: unknown): string | undefined {
  let level: unknown[] = [json];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > mostDepth) return `JSON that is more than ${mostDepth} deep`;
    const next: unknown[] = [];
    for (const value of level) {
      if (typeof value !== "object" || value === null) continue;
      if (Object.hasOwn(value, "__proto__")) return "a key that is no name, __proto__";
      for (const inner of Object.values(value)) next.push(inner);
    }
    level = next;
  }
  return undefined;
}

function notOfSession(path: string, found: string, cause?: unknown): LoadError {
  return new LoadError(`${path}: expected the messages and options of a session, found ${found}`, { cause });
}
