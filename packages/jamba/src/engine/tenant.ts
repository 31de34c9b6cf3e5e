// On whose behalf a call is made: whose states it finds, and whose turn it is.

/** Without one, all calls are of one tenant. */
export interface Tenant {
  readonly name: string;
  /**
   * What others find of what this tenant's calls have read, if they say the same here. "none" (default): nothing; "system": the state
   * after the system messages that a prompt begins with, who knows them whole; "all": everything.
   */
  readonly shares?: "none" | "system" | "all";
}
