// What a side is asked to do, and what it tells.

import type { CpuLevel } from "@jamba/backend-cpu";
import type { Sample } from "./statistics.ts";
import type { Limits, Work } from "./works.ts";

export interface Job {
  readonly side: "ours" | "theirs" | "limits";
  /** The model: our folder, the peer's file. */
  readonly file: string;
  /** Folder with what the bench makes and installs. */
  readonly work: string;
  readonly threads: number;
  /** Of our kernels; the best one if not given. */
  readonly level?: CpuLevel;
  readonly contextTokens: number;
  readonly vocabSize: number;
  readonly works: readonly Work[];
  readonly profile: boolean;
}

export interface OpTime {
  readonly op: string;
  readonly ms: number;
  readonly calls: number;
}

export type Report =
  | { readonly kind: "sample"; readonly work: Work; readonly sample: Sample }
  | { readonly kind: "profile"; readonly work: Work; readonly ops: readonly OpTime[] }
  | { readonly kind: "device"; readonly device: string }
  | { readonly kind: "limits"; readonly limits: Limits }
  | { readonly kind: "failed"; readonly message: string };

/** A library that is started, with no model yet. */
export interface Side {
  readonly device: string;
  load(): Promise<Engine>;
}

/** A loaded model. */
export interface Engine {
  /**
   * Reads `ids`, then draws tokens greedily. `onToken` is called for each and gives the one to go on from instead, or undefined to end.
   * With `goOn` a side that can may take what it has read already for the beginning of `ids`.
   */
  generate(ids: number[], onToken: () => number | undefined, goOn?: boolean): Promise<void>;
  /** @throws Error when the model computes no numbers */
  check(): Promise<void>;
  /** Time by kind of op since the last call, of a backend that knows. */
  profile?(): Promise<readonly OpTime[]>;
  close(): Promise<void>;
}
