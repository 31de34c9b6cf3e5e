// What kinds of tokens GGUF files tell apart, and which texts can be of one kind only.

/** Numbers of token types, from SentencePiece; "unused" is for ids that no token has. */
export const tokenTypes = { undefined: 0, normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 };

/** Whether an id stands for none: converters write it so, as i32 and as u32. */
export function isNoId(id: unknown): boolean {
  return id === -1 || id === 2 ** 32 - 1;
}

export function isByte(token: string): boolean {
  return /^<0x[0-9A-F]{2}>$/i.test(token);
}

/** Ends of a text or a turn, and others that llama.cpp and known models take for control tokens by their text. */
const controlTexts = new Set(
  "<s> </s> <unk> <pad> <bos> <eos> <EOT> _<EOT> [EOT] [EOS] <start_of_turn> <end_of_turn> <|turn> <turn|> <end_of_utterance>".split(" "),
);

/**
 * Whether a token must be a control token although its type says text: what stands between bars, as `<|im_end|>`, or is known by name.
 * @param named whether the file names it as one of its special tokens
 */
export function looksControl(token: string, type: number, named: boolean): boolean {
  const { unknown, control, userDefined, unused } = tokenTypes;
  if ([unknown, control, userDefined].includes(type) || isByte(token)) return false;
  const known = controlTexts.has(token) || (named && looksAdded(token));
  return known || (type !== unused && /^<([|｜]).+\1>$/su.test(token));
}

/** Whether a token has the form of those that are added to a vocabulary: in brackets. */
export function looksAdded(token: string): boolean {
  return /^(<.+>|\[.+\])$/su.test(token) && !isByte(token);
}
