// Apart from stores, which the page has before it has components.

import { useSyncExternalStore } from "preact/compat";
import type { Store } from "./store.ts";

export function useStore<T>(store: Store<T>): T {
  return useSyncExternalStore(
    (listener) => store.subscribe(listener),
    () => store.value,
  );
}
