// How far a grammar follows a text.

import type { Matcher } from "@jamba/grammar";
import type { PlainTexts } from "./plain-texts.ts";

/** Moves a matcher on by a text as far as that fits. @returns units of the text that fit, and the tokens that were taken for them */
export async function takeText(matcher: Matcher, text: string, texts: PlainTexts): Promise<{ fits: number; tokens: number }> {
  let tokens = 0;
  const isTaken = async (ids: readonly number[]) => {
    for (const id of ids) {
      if (!(await matcher.take(id))) return false;
      tokens++;
    }
    return true;
  };
  for (const [from, ids] of texts.tokensOf(text)) {
    const before = tokens;
    if (await isTaken(ids)) continue;
    // Of the token that does not fit some characters may.
    let fits = from + texts.lengthOf(ids.slice(0, tokens - before));
    while (fits < text.length) {
      const char = String.fromCodePoint(text.codePointAt(fits)!);
      if (!(await isTaken(texts.encode(char)))) break;
      fits += char.length;
    }
    return { fits, tokens };
  }
  return { fits: text.length, tokens };
}
