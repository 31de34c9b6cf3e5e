import "./style/base.css";
import "./style/chat.css";
import "./style/panels.css";
import { Client } from "./page/client.ts";

// The model comes first: its worker begins while the page's own code is still on its way, which then finds it at work.
const client = new Client();
const { show } = await import("./page/show.tsx");
show(client);
