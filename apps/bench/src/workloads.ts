// Requests that share a beginning with earlier ones but part from them in unpleasant places, and how little must be read again for each.

import { answerStart, beginId, endId, type Request, type Writer } from "./conversation.ts";

export interface Workload {
  readonly name: string;
  /** In order, each after the answer to the one before. */
  readonly requests: readonly Request[];
}

/** Each with three requests: the third shows whether what the second had to read again is kept. */
export function workloadsOf({ text, message, answer }: Writer): Workload[] {
  const three = <T>(make: (i: number) => T) => [0, 1, 2].map(make);
  const asked = (messages: readonly (readonly number[])[], says = answer(8)): Request => ({
    ids: [beginId, ...messages.flat(), ...answerStart],
    answer: says,
  });
  /** One more turn each time, of what `shown` makes of the conversation so far. */
  const turns = (before: readonly number[][], shown: (messages: readonly number[][]) => readonly (readonly number[])[]): Request[] => {
    const messages = [...before];
    return three(() => {
      messages.push(message("user", 40));
      const request = asked(shown(messages));
      messages.push([...answerStart, ...request.answer]);
      return request;
    });
  };
  const alternating = (count: number) => Array.from({ length: count }, (_, i) => message(i % 2 === 0 ? "user" : "assistant", 60));

  const document = text(480);
  const system = message("system", 600);
  const [before, after] = [message("system", 400).slice(0, -1), [...text(399), endId]];
  const [question, conversation, again] = [message("user", 40), alternating(11), alternating(11)];
  const note = message("system", 30);
  const edited = (messages: readonly number[][], i: number) =>
    messages.map((ids, at) => (at === 4 && i > 0 ? [...ids.slice(0, 30), ...text(20), endId] : ids));
  return [
    {
      name: "480 tokens and another suffix",
      requests: three(() => ({ ids: [beginId, ...document, ...text(20)], answer: answer(8) })),
    },
    { name: "a system text and other users", requests: three(() => asked([system, message("user", 40)])) },
    { name: "the time in the middle of the prompt", requests: three(() => asked([[...before, ...text(4), ...after], question])) },
    { name: "reasoning stripped from the last turn", requests: reasoned() },
    {
      name: "a note five messages above the end",
      requests: turns(alternating(10), (messages) => [...messages.slice(0, -5), note, ...messages.slice(-5)]),
    },
    { name: "an earlier message edited", requests: three((i) => asked(edited(conversation, i))) },
    { name: "answered again", requests: three(() => asked(again)) },
  ];

  function reasoned(): Request[] {
    const messages = [message("system", 100)];
    return three(() => {
      messages.push(message("user", 40));
      const said = answer(20);
      const request = asked(messages, [...text(60), ...said]);
      messages.push([...answerStart, ...said]);
      return request;
    });
  }
}

/** What a request costs at least. */
export interface Expected {
  /** Tokens of the prompt that were not read before. */
  readonly fresh: number;
  /** Tokens that may be read again. */
  readonly again: number;
}

/**
 * The target: what was read before costs at most the distance from the nearest message end to the first difference, and that once, since
 * a state can be kept where two requests part.
 */
export function expectationsOf(requests: readonly Request[]): Expected[] {
  const read: (readonly number[])[] = [];
  const partings: (readonly number[])[] = [];
  return requests.map(({ ids, answer }) => {
    // The last token is read in any case: an answer needs its logits.
    const shared = Math.min(ids.length - 1, Math.max(0, ...read.map((earlier) => sharedLength(earlier, ids))));
    const ends = partings.flatMap((parting) =>
      parting.length <= shared && sharedLength(parting, ids) === parting.length ? parting.length : [],
    );
    const again = shared - Math.max(ids.slice(0, shared).lastIndexOf(endId) + 1, ...ends);
    partings.push(ids.slice(0, shared));
    read.push([...ids, ...answer.slice(0, -1)]); // the last token drawn is read with the next request
    return { fresh: ids.length - shared, again };
  });
}

function sharedLength(a: readonly number[], b: readonly number[]): number {
  let at = 0;
  while (at < a.length && at < b.length && a[at] === b[at]) at++;
  return at;
}
