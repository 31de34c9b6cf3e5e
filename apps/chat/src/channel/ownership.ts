// Which worker owns the model: of all tabs' workers the one that holds the lock. When its tab closes the next one in line has it.

/** Resolves when this worker is the owner; it stays so for as long as it lives. At once where locks are unknown: then each tab is alone. */
export function becomeOwner(lock: string): Promise<void> {
  const { locks } = navigator;
  if (!locks) return Promise.resolve();
  return new Promise((resolve, reject) => {
    locks.request(lock, () => new Promise<never>(() => resolve())).catch(reject);
  });
}

/** Resolves when whoever holds `lock` is gone. */
export async function gone(lock: string): Promise<void> {
  await navigator.locks?.request(lock, () => undefined);
}
