import "./style/base.css";
import "./style/chat.css";
import "./style/panels.css";
import { render } from "preact";
import { App } from "./page/app.tsx";
import { Client } from "./page/client.ts";

const client = new Client();
render(<App client={client} />, document.getElementById("app")!);
