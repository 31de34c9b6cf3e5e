// A grammar as it is asked for: Lark, with parts that become Lark when it is compiled.

import { checkLark } from "./ebnf/check-lark.ts";
import { larkOfEbnf } from "./ebnf/lark-of-ebnf.ts";
import { rustRegexes } from "./regex/rust-regex.ts";
import { prepareSchema } from "./schema/prepare-schema.ts";

/** `name` is what errors call it. */
export type Part =
  | { readonly kind: "schema"; readonly schema: unknown; readonly strict: boolean; readonly name: string }
  | { readonly kind: "regex"; readonly pattern: string; readonly name: string }
  | { readonly kind: "ebnf" | "lark"; readonly grammar: string };

/** Each part stands in the text where `placeOf` its index does. */
export interface Source {
  readonly text: string;
  readonly parts: readonly Part[];
  /** Whose it is: what one owner has compiled is compiled anew for another, whom the time would tell that somebody has asked for the same. */
  readonly owner?: string;
}

/** No Lark has this character. */
const mark = "\u0001";

export function placeOf(part: number): string {
  return mark + part + mark;
}

/**
 * @returns it in Lark, and of schemas that are not strict what that leaves open: paths, each with what would be enforced there
 * @throws JambaError OPTION for a part that is wrong or can't be enforced
 */
export function writeSource({ text, parts }: Source): { lark: string; reasons: ReadonlyMap<string, string> } {
  const reasons = new Map<string, string>();
  const schema = (of: unknown, strict: boolean, name: string) => {
    const prepared = prepareSchema(of, { strict, name });
    for (const [path, reason] of prepared.reasons) reasons.set(path, reason);
    return prepared.schema;
  };
  const written = parts.map((part) => {
    if (part.kind === "schema") return `%json ${JSON.stringify(schema(part.schema, part.strict, part.name))}`;
    if (part.kind === "regex")
      return rustRegexes(part.pattern, { name: part.name, whole: true })
        .map((regex) => `/${regex}/`)
        .join(" & ");
    if (part.kind === "ebnf") return `%lark {\n${larkOfEbnf(part.grammar)}\n}`;
    return `%lark {\n${checkLark(part.grammar, { json: (of, name) => schema(of, false, name) })}\n}`;
  });
  return {
    lark: text
      .split(mark)
      .map((piece, i) => (i % 2 === 0 ? piece : written[Number(piece)]))
      .join(""),
    reasons,
  };
}
