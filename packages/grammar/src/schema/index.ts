export { guidance, type PreparedSchema, type PrepareOptions, prepareSchema } from "./prepare-schema.ts";
