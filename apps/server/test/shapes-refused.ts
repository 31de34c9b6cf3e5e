// Shapes of which the engine refuses the strict schema, by what of it can not be enforced.

const byReason: Readonly<Record<string, readonly string[]>> = {
  // What was said before would have to be kept: no grammar of bounded size does that for texts.
  "`uniqueItems` over texts that are not listed": ["pydantic: sets"],
  // zod's hostnames look ahead over up to 253 characters from two places at once.
  "a pattern that looks around too far": ["zod4: urls of one kind"],
};

/** As `library: name`. */
export const refusedWhereStrict: ReadonlySet<string> = new Set(Object.values(byReason).flat());
