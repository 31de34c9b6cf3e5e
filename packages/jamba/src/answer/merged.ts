// Several streams as one.

/**
 * What `iterators` give, as it comes, each with its place; the end of each too. One is asked for more once what it gave was taken.
 * Whoever leaves ends them.
 * @throws what the first that fails throws
 */
export async function* merged<T, R>(
  iterators: readonly AsyncIterator<T, R>[],
): AsyncGenerator<{ readonly at: number; readonly found: IteratorResult<T, R> }, void> {
  // No Promise.race: each would leave something to do with every promise that goes on waiting, and all of that is done at once in the end.
  const come: (() => { at: number; found: IteratorResult<T, R> })[] = [];
  let wake: () => void = () => undefined;
  const ask = async (at: number) => {
    try {
      const found = await iterators[at].next();
      come.push(() => ({ at, found }));
    } catch (error) {
      come.push(() => {
        throw error;
      });
    }
    wake();
  };
  for (const at of iterators.keys()) void ask(at);
  for (let open = iterators.length; open > 0; ) {
    if (come.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const next = come.shift()!();
    if (next.found.done) open--;
    yield next;
    if (!next.found.done) void ask(next.at);
  }
}
