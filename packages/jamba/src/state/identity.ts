// What names a model in saved states.

/** What a saved state must have been made with: fingerprints. */
export interface Identity {
  readonly model: string;
  /** What earlier versions named the same model by: files of theirs have it in place of `model`. */
  readonly modelBefore?: string;
  /** Of the bytes that this model computes with: those of a prepared folder are not those that it was made from. */
  readonly weights: string;
  readonly tokenizer?: string;
}

/** Naming a model may take a read of all its weights, so it waits until somebody asks. */
export interface IdentitySource {
  /**
   * @throws JambaError UNSUPPORTED where nothing can name the model, LoadError where its files are not what was loaded any more, the
   * signal's reason
   */
  get(signal?: AbortSignal): Promise<Identity>;
}
