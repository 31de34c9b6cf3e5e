// The scenes by name: each has many requests to one model and tells figures about them.

import { arrival } from "./scenes/arrival.ts";
import { batch } from "./scenes/batch.ts";
import { chat } from "./scenes/chat.ts";
import { context } from "./scenes/context.ts";
import { copy } from "./scenes/copy.ts";
import { longChat } from "./scenes/long-chat.ts";
import { reuse } from "./scenes/reuse.ts";
import { rollback } from "./scenes/rollback.ts";
import { sampling } from "./scenes/sampling.ts";
import { score } from "./scenes/score.ts";
import type { Stage } from "./stage.ts";
import type { Scene } from "./works.ts";

export const runScene: Readonly<Record<Scene, (stage: Stage) => Promise<void>>> = {
  batch,
  sampling,
  score,
  chat,
  arrival,
  reuse,
  rollback,
  // No other process is to hold a server.
  http: async (stage) => (await import("./scenes/http.ts")).http(stage),
  copy,
  context,
  "long-chat": longChat,
};
