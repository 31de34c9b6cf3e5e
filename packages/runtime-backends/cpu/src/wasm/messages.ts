// What is said between the thread that asks and the one that owns the module.

/** Arguments in the order of CpuExecutor's, with numbers for handles. */
export interface OwnerCall {
  readonly id: number;
  readonly name: string;
  readonly args: readonly unknown[];
}

export interface Opening {
  readonly module: WebAssembly.Module;
  /** Shared with the other threads; one that the owner makes if not given, `shared` as far as the module wants it so. */
  readonly memory?: WebAssembly.Memory;
  readonly shared: boolean;
  readonly threads: number;
  /** Milliseconds after which messages are looked at in the middle of a step; Infinity where cancelling needs none. */
  readonly sliceMs: number;
}

export type OwnerMessage =
  | { readonly open: Opening }
  | {
      readonly join: {
        readonly module: WebAssembly.Module;
        readonly memory: WebAssembly.Memory;
        readonly stack: number;
        readonly thread: number;
      };
    }
  | { readonly cancel: number }
  | { readonly call: OwnerCall };

export type OwnerReply =
  /** Stacks for the other threads, and where a token that is put at its place cancels a run. */
  | {
      readonly opened: {
        readonly stacks: readonly number[];
        readonly cancelWords: number;
        readonly names: string;
        /** Of the memory that the owner made. */
        readonly mostBytes: number;
        readonly roundsOnce: boolean;
        /** Of a module with dot products of four. */
        readonly areDotsRight?: boolean;
      };
    }
  | { readonly joined: true }
  | { readonly id: number; readonly value: unknown; readonly arenaBytes: number; readonly takenBytes: number }
  | { readonly id: number; readonly failed: { readonly code?: string; readonly message: string } }
  /** The module trapped: nothing of it can be trusted. */
  | { readonly broken: string };

/** A run with token t ends early while word t modulo this has it: as many as native/wasm/door.cc has. */
export const cancelPlaces = 1024;
