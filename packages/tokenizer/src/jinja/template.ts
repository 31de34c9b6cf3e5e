// Chat templates in Jinja, with the settings that transformers gives Jinja2.

import { parse, tokenize } from "@huggingface/jinja";
import { mostSteps, withSteps } from "./budget.ts";
import { type Node, run } from "./evaluate.ts";
import { globals, Scope } from "./scope.ts";
import { mendTokens } from "./tokens.ts";
import { fail, fromJs } from "./values.ts";

/** @param steps that it may take, see `budget.ts` */
export type Template = (variables: Readonly<Record<string, unknown>>, steps?: number) => string;

/** Characters; published ones have some thousands. */
const longest = 2 ** 19;
/** The parser looks for a tag's end from each of them. */
const mostSpace = 256;

/** @throws Error for what is no template, at once or when it is rendered; OutOfSteps there */
export function compileTemplate(source: string): Template {
  if (source.length > longest) fail(`expected a template of at most ${longest} characters, found ${source.length}`);
  if (new RegExp(`\\s{${mostSpace + 1}}`).test(source)) fail(`expected at most ${mostSpace} spaces or line breaks on end, found more`);
  const tokens = tokenize(source.replace(/\r\n?/g, "\n"), { lstrip_blocks: true, trim_blocks: true });
  const program = parse(mendTokens(tokens) as typeof tokens) as unknown as Node;
  const render = (variables: Readonly<Record<string, unknown>>) => {
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
  return (variables, steps = mostSteps) => withSteps(steps, () => render(variables));
}
