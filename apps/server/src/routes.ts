// All routes, in the order in which the OpenAPI document lists them.

import type { Route } from "./route.ts";
import { chatRoute } from "./routes/chat.ts";
import { completionsRoute } from "./routes/completions.ts";
import { embeddingsRoute } from "./routes/embeddings.ts";
import { messageRoutes } from "./routes/messages.ts";
import { rerankRoute } from "./routes/rerank.ts";
import { responseRoutes } from "./routes/responses.ts";
import { slotRoutes } from "./routes/slots.ts";
import { statusRoutes } from "./routes/status.ts";
import { tokenRoutes } from "./routes/tokens.ts";

export const routes: readonly Route[] = [
  chatRoute,
  completionsRoute,
  ...responseRoutes,
  ...messageRoutes,
  embeddingsRoute,
  rerankRoute,
  ...tokenRoutes,
  ...slotRoutes,
  ...statusRoutes,
];
