// What names a model in saved states.

import { JambaError } from "@jamba/core";

/** What a saved state must have been made with: fingerprints. */
export interface Identity {
  readonly model: string;
  readonly tokenizer?: string;
}

/** @throws JambaError UNSUPPORTED where nothing can name the model */
export function expectIdentity(identity: Identity | JambaError): Identity {
  if (identity instanceof JambaError) throw identity;
  return identity;
}
