// Which messages of a conversation are left out where it is longer than the context. Knows neither tokens nor templates.

import type { Message } from "@jamba/tokenizer";
import type { GenerateOptions } from "./options.ts";
import type { Reading } from "./reading.ts";

/** New tokens that there is room for where the call does not say how many, unless a quarter of the context is less. */
const defaultRoom = 1024;

/**
 * With `truncation: "auto"`, leaves out as few of `messages` as it can, oldest first, until `read` gives no more tokens than leave room for
 * `maxTokens`: whole turns, then whole rounds of calls and results within the last turn. What stays whatever it takes: system messages, the
 * last messages of the user, and what comes last.
 * @returns what `read` gives for those that stay, and the indices of the others; all that may go are gone where that is not enough
 */
export function* readFitting<Read extends { readonly ids: readonly number[] }>(
  messages: readonly Message[],
  { truncation, maxTokens }: Pick<GenerateOptions, "truncation" | "maxTokens">,
  contextLength: number,
  read: (kept: readonly Message[]) => Reading<Read>,
): Reading<Read & { readonly dropped?: readonly number[] }> {
  const whole = yield* read(messages);
  if (truncation !== "auto") return whole;
  const limit = contextLength - roomFor(maxTokens, contextLength);
  const groups = whole.ids.length > limit ? droppableGroups(messages) : [];
  if (groups.length === 0) return { ...whole, dropped: [] };
  const without = function* (count: number) {
    const dropped = groups.slice(0, count).flat();
    const gone = new Set(dropped);
    return { ...(yield* read(messages.filter((_, i) => !gone.has(i)))), dropped };
  };
  const weights = weightsOf(groups, messages);
  let best = yield* without(groups.length);
  let [least, most] = [best.ids.length, whole.ids.length];
  // The fewest groups that are enough are in (low, high].
  for (let [low, high, tries] = [0, groups.length, 1]; high - low > 1 && best.ids.length <= limit; tries++) {
    // A long conversation takes long to read: a guess by the lengths of its texts is near. Every other time it is the middle, whatever they say.
    const share = (most - limit) / Math.max(1, most - least);
    const guess = weights.findIndex((weight) => weight >= weights[low] + share * (weights[high] - weights[low]));
    const middle = tries % 2 === 0 ? (low + high) >> 1 : Math.min(high - 1, Math.max(low + 1, guess));
    const found = yield* without(middle);
    if (found.ids.length > limit) [low, most] = [middle, found.ids.length];
    else [high, best, least] = [middle, found, found.ids.length];
  }
  return best;
}

/** Characters of the first groups, by how many. */
function weightsOf(groups: readonly (readonly number[])[], messages: readonly Message[]): number[] {
  const weights = [0];
  for (const group of groups) {
    const length = (i: number) => {
      const { content } = messages[i];
      return typeof content === "string" ? content.length : (content ?? []).reduce((sum, { text }) => sum + text.length, 0);
    };
    weights.push(group.reduce((sum, i) => sum + length(i), weights[weights.length - 1]));
  }
  return weights;
}

function roomFor(maxTokens: number | undefined, contextLength: number): number {
  // Who asks for more than there is asks for as much as there is.
  const isBounded = maxTokens !== undefined && maxTokens < contextLength;
  return isBounded ? maxTokens : Math.min(defaultRoom, Math.floor(contextLength / 4));
}

/** Indices of messages that go together, in the order in which they may go. */
function droppableGroups(messages: readonly Message[]): number[][] {
  const said = messages.flatMap(({ role }, i) => (isSystem(role) ? [] : [i]));
  const isJoined = joinedToCalls(messages);
  const begins = (i: number, at: number, role: string) =>
    messages[i].role === role && !isJoined[i] && (at === 0 || messages[said[at - 1]].role !== role);
  const turns = split(said, (i, at) => begins(i, at, "user"));
  const last = turns.pop() ?? [];
  const asked = last.findIndex((i) => messages[i].role !== "user");
  const rounds = asked < 0 ? [] : split(last.slice(asked), (i) => messages[i].role === "assistant" && !isJoined[i]);
  return [...turns, ...rounds.slice(0, -1).filter((round) => round.every((i) => messages[i].role !== "user"))];
}

/** Groups of `indices`, each of which but the first begins where `begins` says. */
function split(indices: readonly number[], begins: (index: number, at: number) => boolean): number[][] {
  const groups: number[][] = [];
  for (const [at, index] of indices.entries()) {
    if (at === 0 || begins(index, at)) groups.push([]);
    groups.at(-1)!.push(index);
  }
  return groups;
}

/** Which messages lie between a call and its result, that result included: no group begins there. */
function joinedToCalls(messages: readonly Message[]): boolean[] {
  // The last result of each caller.
  const ends = new Map<number, number>();
  const callers = new Map<string, number>();
  let lastCaller: number | undefined;
  for (const [i, message] of messages.entries()) {
    const calls = message.toolCalls ?? message.tool_calls ?? [];
    // Calls may also be a part of the text, as the model wrote it.
    if (message.role === "assistant") lastCaller = i;
    for (const { id } of calls) if (id !== undefined) callers.set(id, i);
    if (message.role !== "tool") continue;
    const caller = callers.get(message.toolCallId ?? message.tool_call_id ?? "") ?? lastCaller;
    if (caller !== undefined) ends.set(caller, i);
  }
  let end = -1;
  return messages.map((_, i) => {
    const isJoined = i <= end;
    end = Math.max(end, ends.get(i) ?? -1);
    return isJoined;
  });
}

export function isSystem(role: string): boolean {
  return role === "system" || role === "developer";
}
