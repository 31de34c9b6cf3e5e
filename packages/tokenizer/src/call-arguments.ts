// The arguments of calls in a history, which come as objects and as texts of all kinds, as all templates can read them.

import { readJson } from "./jinja/json.ts";
import { Literal } from "./jinja/values.ts";

/**
 * What a template gets for the arguments of a call. Texts are decoded, so that `| tojson` writes them as the model was taught and
 * `| items` finds them; one that was encoded twice is decoded twice. Numbers keep their digits and keys their order. Nothing, `null` and
 * an empty text are a call without arguments.
 *
 * A text that is no JSON stays the text that it is, written as a JSON string in which `<` is escaped: so it can end neither the JSON around
 * it nor a tag, and spells no control token. It is not refused, because models write such texts and answers are cut within them, and a
 * conversation has to go on from there. All forms write it alike; only a template that takes arguments apart (`| items`) refuses it.
 */
export function readArguments(given: unknown): unknown {
  let value = given;
  while (typeof value === "string") {
    const text = value.trim();
    const read = text === "" ? null : readJson(text);
    if (read === undefined) return new Literal(`"${insideJson(value)}"`);
    value = read;
  }
  return value ?? {};
}

/** What stands between the quotes of a JSON string, without `<`. A name has nothing to escape, unless it is made to break a prompt. */
export function insideJson(text: string): string {
  return JSON.stringify(text).slice(1, -1).replaceAll("<", "\\u003c");
}
