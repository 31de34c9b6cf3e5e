import "./style/base.css";
import "./style/chat.css";
import "./style/panels.css";
import { render } from "preact";
import { App } from "./page/app.tsx";
import { Client } from "./page/client.ts";
import { fetchMarkdown } from "./page/markdown.tsx";

const client = new Client();
// In a task of its own: to evaluate all that is imported here is one already.
setTimeout(() => {
  render(<App client={client} />, document.getElementById("app")!);
  client.heed(fetchMarkdown());
});
