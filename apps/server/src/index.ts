export { createApp } from "./app.ts";
export { jsonLog } from "./log.ts";
export type { ServerStats } from "./metrics.ts";
export type { ServedModel, ServedModels } from "./model-source.ts";
export { openApiDocument } from "./openapi.ts";
export { type ListenOptions, type ServeModelsOptions, type ServeOptions, type Server, serve } from "./serve.ts";
export { type AppOptions, Service } from "./service.ts";
export { type ModelsOptions, Services } from "./services.ts";
