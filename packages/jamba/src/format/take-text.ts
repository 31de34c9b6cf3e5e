// How far a grammar follows a text.

import type { Matcher } from "@jamba/grammar";
import type { PlainTexts } from "./plain-texts.ts";

/** Moves a matcher on by a text as far as that fits. @returns units of the text, all of them where an answer can begin with it */
export async function lengthThatFits(matcher: Matcher, text: string, texts: PlainTexts): Promise<number> {
  const taken = (id: number) =>
    matcher.accept(id).then(
      () => true,
      () => false,
    );
  for (const [from, ids] of texts.tokensOf(text)) {
    const done = await firstRefused(ids, taken);
    if (done === undefined) continue;
    // Of the token that does not fit some characters may.
    let fits = from + texts.lengthOf(ids.slice(0, done));
    while (fits < text.length) {
      const char = String.fromCodePoint(text.codePointAt(fits)!);
      if ((await firstRefused(texts.encode(char), taken)) !== undefined) break;
      fits += char.length;
    }
    return fits;
  }
  return text.length;
}

async function firstRefused(ids: readonly number[], taken: (id: number) => Promise<boolean>): Promise<number | undefined> {
  for (const [i, id] of ids.entries()) if (!(await taken(id))) return i;
  return undefined;
}
