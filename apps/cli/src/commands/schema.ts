import { readFile } from "node:fs/promises";
import { type CompiledFormat, type Formats, JambaError, loadFormats } from "jamba";
import type { Command } from "../cli.ts";
import { commonFlags, type FlagValues, textFlag, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { type Asked, askedOf } from "../schemas.ts";
import { coloursFor, counted, interruptible, type Terminal, widthOf, wrapped } from "../terminal.ts";

export const schema: Command = {
  words: "FILE",
  summary: "what of a JSON schema answers are bound to",
  about: `FILE is a JSON schema, tools as OpenAI has them, or a request with tools or a
response_format; - is stdin. Tells for each schema what is enforced, what is
not and why, how long it took, and how large its grammar is.`,
  flags: {
    strict: { type: "boolean", help: "refuse what is not all enforced; tools may say it of themselves" },
    accepts: { type: "string", value: "FILE|TEXT", help: "an answer, or a call's arguments: whether they fit" },
    model: { type: "string", value: "MODEL", fallback: "tiny", help: "whose vocabulary; no weights are read" },
    json: commonFlags.json,
    quiet: commonFlags.quiet,
    offline: commonFlags.offline,
    help: commonFlags.help,
  },
  notes: "Exit code 1 if a schema is refused or an answer does not fit, else 0.",

  async run({ flags, words }, terminal) {
    if (words.length > 1) throw new UsageError(`schema: expected one file, found ${JSON.stringify(words.join(" "))}`);
    const asked = askedOf(await textGiven(words[0], terminal), Boolean(flags.strict));
    const answer = await answerGiven(textFlag(flags, "accepts"));
    if (answer !== undefined && asked.length > 1)
      throw new UsageError(`--accepts: expected one schema to try it by, found ${counted(asked.length, "schema")}`);
    const model = await modelOf(textFlag(flags, "model"));
    return interruptible(terminal, async (signal) => {
      const formats = await loadFormats(model, { offline: flags.offline as boolean | undefined, signal });
      try {
        await formats.format({ type: "json" }, { signal }); // the vocabulary is read by then
        const found: Found[] = [];
        for (const one of asked) found.push(await judged(one, formats, answer, signal));
        if (flags.json) terminal.stdout.write(`${JSON.stringify({ model, schemas: found })}\n`);
        else for (const one of found) show(one, flags, terminal);
        return found.some(({ refused, accepted }) => refused !== undefined || accepted === false) ? 1 : 0;
      } finally {
        await formats.dispose();
      }
    });
  },
};

async function textGiven(file: string | undefined, { stdin }: Terminal): Promise<string> {
  if (file === undefined && stdin.isTTY) throw new UsageError("schema: expected a file, found none; - is stdin");
  if (file !== undefined && file !== "-") return readText("schema", file);
  let text = "";
  for await (const piece of stdin) text += piece;
  return text;
}

async function answerGiven(given: string | undefined): Promise<string | undefined> {
  const isText = given === undefined || /^\s*(["{[\d-]|(true|false|null)\s*$)/.test(given);
  return isText ? given : (await readText("--accepts", given)).replace(/\r?\n$/, "");
}

async function readText(what: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new UsageError(`${what}: expected a text file, found ${(cause as Error).message}`);
  }
}

interface Found {
  readonly name: string;
  readonly strict: boolean;
  /** Whether answers are bound to all of it. */
  readonly enforced: boolean;
  readonly notEnforced: readonly { readonly path: string; readonly reason: string }[];
  /** Why there is no such format. */
  readonly refused?: string;
  readonly prepareMs?: number;
  readonly compileMs?: number;
  readonly grammarLength?: number;
  readonly accepted?: boolean;
  /** What of the answer fits, where it is not accepted. */
  readonly fits?: string;
}

/** What is left out is told of a strict schema too, of which the refusal names the first alone. */
async function judged({ name, schema, strict }: Asked, formats: Formats, answer: string | undefined, signal: AbortSignal): Promise<Found> {
  const named = (text: string) => text.replaceAll("format.schema", () => name);
  const compiled = async (strict: boolean): Promise<CompiledFormat | string> => {
    try {
      return await formats.format({ type: "json", schema: schema as object, strict }, { signal });
    } catch (error) {
      if (error instanceof JambaError && error.code === "OPTION") return named(error.message);
      throw error;
    }
  };
  const loose = await compiled(false);
  const reasons = typeof loose === "string" ? [] : [...loose.reasons];
  const notEnforced = reasons.map(([path, reason]) => ({ path: named(path), reason }));
  const format = strict && typeof loose !== "string" ? await compiled(true) : loose;
  if (typeof format === "string") return { name, strict, enforced: false, notEnforced, refused: format };
  const { prepareMs, compileMs, grammarLength } = format;
  const tried = answer === undefined ? undefined : await triedBy(format, answer);
  return { name, strict, enforced: notEnforced.length === 0, notEnforced, prepareMs, compileMs, grammarLength, ...tried };
}

async function triedBy(format: CompiledFormat, answer: string): Promise<Pick<Found, "accepted" | "fits">> {
  const text = onOneLine(answer);
  if (await format.accepts(text)) return { accepted: true };
  return { accepted: false, fits: text.slice(0, await format.lengthThatFits(text)) };
}

/** As answers are written: with a space after each comma and colon. What is no JSON stays as it is. */
function onOneLine(answer: string): string {
  const strings = /"(?:[^"\\]|\\.)*"/g;
  try {
    JSON.parse(answer);
  } catch {
    return answer;
  }
  const between = (text: string) => text.replaceAll(/\s/g, "").replaceAll(/[,:]/g, "$& ");
  let [line, from] = ["", 0];
  for (const { index, 0: string } of answer.matchAll(strings)) {
    line += between(answer.slice(from, index)) + string;
    from = index + string.length;
  }
  return line + between(answer.slice(from));
}

function show(found: Found, flags: FlagValues, terminal: Terminal): void {
  const { name, notEnforced, refused, accepted, fits } = found;
  const { stdout } = terminal;
  const { bold, green, red, yellow, dim } = coloursFor(stdout, terminal);
  const write = (text: string, style: (line: string) => string = String) => {
    for (const line of wrapped(text, widthOf(stdout) - 2)) stdout.write(`  ${style(line)}\n`);
  };
  stdout.write(`${bold(name)}\n`);
  if (refused !== undefined) write(`refused: ${refused}`, red);
  else if (notEnforced.length === 0) write("all of it is enforced", green);
  for (const { path, reason } of notEnforced) write(`not enforced: ${path}: expected ${reason}`, yellow);
  if (refused === undefined && !flags.quiet) write(costOf(found), dim);
  if (accepted === true) write("the answer fits", green);
  if (accepted === false) write(`the answer does not fit${fits === "" ? "" : ` behind ${JSON.stringify(fits)}`}`, red);
}

function costOf({ prepareMs = 0, compileMs = 0, grammarLength = 0 }: Found): string {
  return `prepared in ${prepareMs.toFixed(1)} ms, compiled in ${compileMs.toFixed(1)} ms, ${counted(grammarLength, "character")} of grammar`;
}
