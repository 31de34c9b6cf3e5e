// The OpenAPI document, made from the routes and their schemas.

import { z } from "zod";
import { pathOf, type Route } from "./route.ts";
import { routes } from "./routes.ts";

const error = z.toJSONSchema(
  z.object({
    error: z.object({ message: z.string(), type: z.string(), param: z.string().nullable(), code: z.string().nullable() }),
  }),
);

/** OpenAPI 3.1, whose schemas are JSON Schema 2020-12. */
export const openApiDocument = {
  openapi: "3.1.0",
  info: {
    title: "jamba",
    version: "1",
    description: "OpenAI's API for a Jamba model, with llama.cpp's extensions. Unknown fields are ignored; null is as good as absent.",
  },
  components: {
    securitySchemes: { key: { type: "http", scheme: "bearer" } },
    responses: { Error: { description: "What is wrong", content: { "application/json": { schema: error } } } },
  },
  security: [{}, { key: [] }],
  paths: {
    ...Object.fromEntries(
      routes.flatMap((route) => route.paths.map((path) => [pathOf(path), { [route.method]: operationOf(route, path) }])),
    ),
    "/openapi.json": { get: { summary: "This document", responses: responsesOf("application/json", "An OpenAPI document") } },
  },
};

function operationOf({ summary, request, query, returns, streams, paths }: Route, path: string) {
  const parameters = [
    ...[...path.matchAll(/:(\w+)/g)].map(([, name]) => ({ name, in: "path", required: true, schema: { type: "string" } })),
    ...Object.entries(query ?? {}).map(([name, values]) => ({
      name,
      in: "query",
      required: true,
      schema: { type: "string", enum: values },
    })),
  ];
  const schema = request && z.toJSONSchema(request, { io: "input" });
  const type = paths[0] === "/metrics" ? "text/plain" : "application/json";
  return {
    summary,
    ...(path !== paths[0] && { description: `The same as ${pathOf(paths[0])}.` }),
    ...(parameters.length > 0 && { parameters }),
    ...(schema && { requestBody: { required: !query, content: { "application/json": { schema } } } }),
    responses: responsesOf(type, returns, streams),
  };
}

function responsesOf(type: string, description: string, streams = false) {
  const schema = type === "application/json" ? {} : { type: "string" };
  return {
    200: { description, content: { [type]: { schema }, ...(streams && { "text/event-stream": { schema: { type: "string" } } }) } },
    default: { $ref: "#/components/responses/Error" },
  };
}
