import { render } from "preact";
import { App } from "./app.tsx";
import type { Client } from "./client.ts";
import { fetchMarkdown } from "./markdown.tsx";

export function show(client: Client): void {
  // In a task of its own: to evaluate all that is imported here is one already.
  setTimeout(() => {
    render(<App client={client} />, document.getElementById("app")!);
    client.heed(fetchMarkdown());
  });
}
