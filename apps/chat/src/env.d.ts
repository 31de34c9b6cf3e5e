/** What the build writes into the code. */
interface ImportMeta {
  readonly env: {
    /** Of the small model's weights: another one is fetched anew. */
    readonly MODEL_VERSION: string;
  };
}
