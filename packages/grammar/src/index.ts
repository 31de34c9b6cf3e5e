export { checkLark } from "./ebnf/check-lark.ts";
export { larkOfEbnf } from "./ebnf/lark-of-ebnf.ts";
export type { Grammar } from "./grammar.ts";
export type { Matcher } from "./matcher.ts";
export { rustRegex, rustRegexes } from "./regex/rust-regex.ts";
export { type PreparedSchema, type PrepareOptions, prepareSchema } from "./schema/prepare-schema.ts";
export { type Part, placeOf, type Source } from "./source.ts";
export { Vocabulary, type VocabularyOptions } from "./vocabulary.ts";
