// JSON Schema's words: those that are enforced, and those that assert nothing.

export const annotations = new Set(
  "title description default example examples deprecated readOnly writeOnly $schema $id id $anchor $comment $defs definitions contentMediaType contentEncoding".split(
    " ",
  ),
);
export const enforced = new Set(
  "$ref allOf anyOf oneOf enum const type properties required additionalProperties patternProperties minProperties maxProperties items prefixItems additionalItems minItems maxItems pattern format minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum".split(
    " ",
  ),
);
