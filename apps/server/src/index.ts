export { createApp } from "./app.ts";
export { jsonLog } from "./log.ts";
export type { ServerStats } from "./metrics.ts";
export { openApiDocument } from "./openapi.ts";
export { type ServeOptions, type Server, serve } from "./serve.ts";
export { type AppOptions, Service } from "./service.ts";
