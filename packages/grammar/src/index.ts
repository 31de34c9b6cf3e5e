export { Grammar } from "./grammar.ts";
export { Matcher } from "./matcher.ts";
export { Vocabulary, type VocabularyOptions } from "./vocabulary.ts";
