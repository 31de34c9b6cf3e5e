// Chat templates in Jinja, with the settings that transformers gives Jinja2.

import { parse, tokenize } from "@huggingface/jinja";
import { type Node, run } from "./evaluate.ts";
import { globals, Scope } from "./scope.ts";
import { mendTokens } from "./tokens.ts";
import { fail, fromJs } from "./values.ts";

export type Template = (variables: Readonly<Record<string, unknown>>) => string;

/** @throws Error for what is no template, at once or when it is rendered */
export function compileTemplate(source: string): Template {
  const tokens = tokenize(source.replace(/\r\n?/g, "\n"), { lstrip_blocks: true, trim_blocks: true });
  const program = parse(mendTokens(tokens) as typeof tokens) as unknown as Node;
  return (variables) => {
    const scope = new Scope();
    for (const [name, value] of Object.entries(globals)) scope.set(name, value);
    const inner = new Scope(scope);
    for (const [name, value] of Object.entries(variables)) {
      if (Object.hasOwn(globals, name)) fail(`${name}: expected another name for a variable, found one that templates have of their own`);
      if (value !== undefined) inner.set(name, fromJs(value));
    }
    const out: string[] = [];
    run(program.body, inner, out);
    return out.join("");
  };
}
