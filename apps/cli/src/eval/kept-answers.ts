// What a model said to each question, in lines of a file that a second run goes on from.

import { createHash } from "node:crypto";
import { appendFile, readFile } from "node:fs/promises";
import { FailedError } from "../flags.ts";

/** Log probabilities of choices, or a text. */
export type Said = readonly number[] | string;

interface Line {
  /** Of all that decides the answer. */
  readonly key: string;
  readonly said: Said;
}

export class KeptAnswers {
  readonly #known: Map<string, Said>;
  #last = Promise.resolve();

  private constructor(
    readonly file: string | undefined,
    known: Map<string, Said>,
  ) {
    this.#known = known;
  }

  /** @throws FailedError for a file that has something else */
  static async open(file: string | undefined): Promise<KeptAnswers> {
    const known = new Map<string, Said>();
    if (file === undefined) return new KeptAnswers(undefined, known);
    const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "";
      throw new FailedError("FILE", `--out: expected a file of results, found ${error.message}`);
    });
    // A run that was killed may have left half a line, which is asked again.
    for (const line of text.split("\n").map(parsed)) if (line) known.set(line.key, line.said);
    if (text.trim() !== "" && known.size === 0)
      throw new FailedError("FILE", `${file}: expected results of jamba eval, found another text; name another file`);
    if (text !== "" && !text.endsWith("\n")) await appendFile(file, "\n");
    return new KeptAnswers(file, known);
  }

  static keyOf(...all: unknown[]): string {
    return createHash("sha256").update(JSON.stringify(all)).digest("hex").slice(0, 32);
  }

  get(key: string): Said | undefined {
    return this.#known.get(key);
  }

  /** One line after the other. @param more for people who read the file */
  async add(key: string, said: Said, more: object): Promise<void> {
    if (this.file === undefined) return;
    const line = `${JSON.stringify({ key, ...more, said })}\n`;
    this.#last = this.#last.then(() => appendFile(this.file!, line));
    await this.#last;
  }
}

function parsed(line: string): Line | undefined {
  try {
    const found = JSON.parse(line) as Line;
    return typeof found.key === "string" && (typeof found.said === "string" || Array.isArray(found.said)) ? found : undefined;
  } catch {
    return undefined;
  }
}
