import { basename } from "node:path";
import { JambaError, type JambaModel, loadModel } from "jamba";
import { Chat } from "../chat.ts";
import type { Command } from "../cli.ts";
import { converse } from "../converse.ts";
import { commonFlags, generateFlags, generateOptions, loadOptions, textFlag, textOf, UsageError } from "../flags.ts";
import { modelOf } from "../model-word.ts";
import { loadBar } from "../terminal.ts";
import { shortRun } from "../with-model.ts";

const first = { type: "string", group: "begin" } as const;

export const chat: Command = {
  words: "[MODEL]",
  summary: "a conversation that is read only once",
  about: `A line is a message. It goes on after a \\ at its end, or Alt-Enter; what is
pasted is one, and so is all between two lines of """. Ctrl-R searches what
was typed, also before. --json gives one document at the end.`,
  flags: {
    system: { ...first, value: "TEXT", help: "the first message" },
    file: { ...first, value: "FILE", multiple: true, help: "a document to answer from" },
    load: { ...first, value: "FILE", help: "go on from what /save wrote" },
    ...generateFlags,
    ...commonFlags,
  },
  notes: `/help tells of /fork, /rewind, /retry, /save and what else there is in it.
Ctrl-C stops an answer; a second one, or one at the prompt, leaves.`,

  async run({ flags, words }, terminal) {
    if (words.length > 1) throw new UsageError(`chat: expected a model at most, found ${JSON.stringify(words.join(" "))}`);
    const source = await modelOf(words[0]);
    if (flags.load !== undefined && (flags.system !== undefined || flags.file !== undefined))
      throw new UsageError("--load: expected neither --system nor --file beside it, for a conversation has its own");
    const files = (flags.file ?? []) as string[];
    const documents = await Promise.all(files.map(async (file) => ({ title: basename(file), text: await textOf("--file", file) })));
    const bar = loadBar(terminal, !(flags.quiet || flags.json));
    const model = await loadModel(source, { ...loadOptions(flags, terminal), ...shortRun, onProgress: bar.onProgress }).finally(bar.stop);
    try {
      if (documents.length > 0) expectPlaceFor(documents[0].text, documents, model);
      const load = textFlag(flags, "load");
      const begin = { system: textFlag(flags, "system"), ...(documents.length > 0 && { documents }) };
      const session = load === undefined ? model.session(begin) : await model.openSession(load);
      return await converse(new Chat(model, session, generateOptions(flags), documents, terminal), flags, source, terminal);
    } finally {
      await model.dispose();
    }
  },
};

/** Not every template shows documents to the model. */
function expectPlaceFor(text: string, documents: readonly object[], model: JambaModel): void {
  if (model.tokenizer.renderChat([{ role: "user", content: "" }], { documents }).includes(text)) return;
  throw new JambaError("OPTION", "--file: expected a model whose chat template shows documents, found one that leaves them out");
}
