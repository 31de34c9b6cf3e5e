// Where a tensor lies, whichever format its file has.

export interface TensorInfo {
  /** transformers' name, also for the tensors of GGUF files. */
  readonly name: string;
  /** The format's own spelling: "BF16", "Q4_K". */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The file that holds it, without its directory. */
  readonly file: string;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}
