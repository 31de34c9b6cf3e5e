// On whose behalf a call is made, and what that makes of the ids that key its states: the one place where states of different owners part.

/** Without one, all calls are of one tenant. */
export interface Tenant {
  readonly name: string;
  /**
   * What others find of what this tenant's calls have read, if they say the same here. "none" (default): nothing; "system": the state
   * after the system messages that a prompt begins with, for who knows them whole; "all": everything.
   */
  readonly shares?: "none" | "system" | "all";
}

/**
 * What keys a state: the token ids that it has read. An element that is salted is a text, the id with the salt behind it: two paths
 * are the same only where all their elements are, so nothing that compares paths needs to know of owners.
 */
export type Path = readonly PathElement[];
export type PathElement = number | string;

/** What decided the bits of a state that was not made here: of its first tokens up to each count, rising, by what they were made. */
export type Made = readonly (readonly [numerics: string, tokens: number])[];

/** What keys the states of a call beside the tokens. */
export interface Owner {
  readonly tenant?: Tenant;
  /** Tokens of the system messages that the prompt begins with. */
  readonly systemTokens?: number;
}

/** @param made of a state that came from elsewhere, and was read into no later than at its end: what it made is found by its equals alone */
export function pathOf(ids: readonly number[], { tenant, systemTokens = 0 }: Owner, made?: Made): Path {
  const path: PathElement[] = [...ids];
  const salt = (at: number, ...text: unknown[]) => {
    if (at < path.length) path[at] = `${path[at]}:${JSON.stringify(text)}`;
  };
  if (tenant?.shares === "all") salt(0, "all");
  else if (tenant?.shares === "system" && systemTokens > 0 && systemTokens <= ids.length) {
    // All of it, so that nobody finds out a system text of others token by token.
    salt(0, "system", ids.slice(0, systemTokens).join());
    salt(systemTokens, "tenant", tenant.name);
  } else if (tenant) salt(0, "tenant", tenant.name);
  if (made) salt(madeTokens(made) - 1, "made", made);
  return path;
}

/** Of a state that does not say what made it: equal to no other. */
export function madeUnknown(tokens: number): Made {
  return [[`unknown ${[...crypto.getRandomValues(new Uint32Array(4))].join()}`, tokens]];
}

/** What of `made` keys a state where what is read is made with `numerics`: nothing where all of it is. */
export function foreignOf(made: Made, numerics: string): Made | undefined {
  const last = made.findLastIndex(([one]) => one !== numerics);
  return last < 0 ? undefined : made.slice(0, last + 1);
}

/** The tokens of a state that were read elsewhere. */
export function madeTokens(made: Made): number {
  return made.at(-1)?.[1] ?? 0;
}

export function idOf(element: PathElement): number {
  return typeof element === "number" ? element : Number.parseInt(element, 10);
}
