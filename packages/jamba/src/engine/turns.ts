// Whose turn it is where not all can go on: tenants by turns, requests of a tenant by turns, and what is due first of these.

/** On whose behalf something waits. */
export interface Party {
  readonly tenant?: string;
  /** What belongs to one request takes turns as one; without one it is a request of its own. */
  readonly request?: unknown;
}

/**
 * `waiting` in the order of their turns: each step goes to the tenant, and of it to the request, that has the fewest of `running` and
 * of those before. None is put off for ever: what others have had counts for whoever waits.
 */
export function inTurn<T extends Party>(waiting: readonly T[], dueOf: (one: T) => number, running: Iterable<Party> = []): T[] {
  const tenants = new Map<unknown, number>();
  const requests = new Map<string | undefined, Map<unknown, number>>();
  const next = (counts: Map<unknown, number>, key: unknown) => {
    const count = counts.get(key) ?? 0;
    counts.set(key, count + 1);
    return count;
  };
  const nextOf = ({ tenant, request }: Party) => {
    if (request === undefined) return 0;
    if (!requests.has(tenant)) requests.set(tenant, new Map());
    return next(requests.get(tenant)!, request);
  };
  for (const one of running) {
    next(tenants, one.tenant);
    nextOf(one);
  }
  const dues = waiting.map((one) => ({ one, due: dueOf(one), turn: 0 })).sort((a, b) => a.due - b.due);
  const byRequest = dues.map((entry) => ({ ...entry, turn: nextOf(entry.one) }));
  byRequest.sort((a, b) => a.turn - b.turn || a.due - b.due);
  const byTenant = byRequest.map((entry) => ({ ...entry, turn: next(tenants, entry.one.tenant) }));
  return byTenant.sort((a, b) => a.turn - b.turn || a.due - b.due).map(({ one }) => one);
}
