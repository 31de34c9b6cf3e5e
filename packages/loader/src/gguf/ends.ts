// Which ids end an answer, in the keys that llama.cpp reads them from.

/** End-of-turn tokens, which are not the end of the text: Jamba 1.5's and ChatML's. */
export const turnEnds = ["<|eom|>", "<|im_end|>"];

/** What llama.cpp ends an answer at by its text alone (`special_eog_ids` in its src/llama-vocab.cpp). */
const knownEnds = new Set(
  (
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> " +
    "[EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response>"
  ).split(" "),
);

const namedKeys = ["eos_token_id", "eot_token_id", "eom_token_id"].map((key) => `tokenizer.ggml.${key}`);

/**
 * The one way to name another end without a warning that the file may be wrong: llama.cpp ends answers at these ids too. They mean
 * something else only where a file names the tokens around a gap to be filled, and no Jamba's does.
 */
const quietKeys = ["fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id"].map((key) => `tokenizer.ggml.${key}`);

/**
 * Keys for the ids that end an answer.
 * @param ends the end of a text first, the end of a turn next
 */
export function endKeys(ends: readonly number[], tokens: readonly string[]): Map<string, number> {
  const each = [...new Set(ends)].filter((id) => id < tokens.length);
  const unknown = each.filter((id) => !knownEnds.has(tokens[id]));
  const pairs = (keys: readonly string[], ids: readonly number[]) =>
    keys.slice(0, ids.length).map((key, i): [string, number] => [key, ids[i]]);
  return new Map([...pairs(namedKeys, each), ...pairs(quietKeys, unknown)]);
}

/** Whether a token that ends an answer can be one of control: one that is plain text ends answers and stays text. */
export function isControlEnd(id: number, token: string, ends: readonly number[]): boolean {
  return knownEnds.has(token) || (ends.includes(id) && /^[<[].*[>\]]$/s.test(token));
}
