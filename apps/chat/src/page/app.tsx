import { Activity, Settings as Gear, Menu, X } from "lucide-preact";
import { lazy, Suspense } from "preact/compat";
import { useEffect, useMemo, useState } from "preact/hooks";
import { ChatView } from "./chat-view.tsx";
import type { Client } from "./client.ts";
import { Dialog } from "./dialog.tsx";
import { DropArea } from "./drop-area.tsx";
import { ModelPill } from "./model-pill.tsx";
import { OpenConversation } from "./open-conversation.ts";
import { set, settings } from "./settings.ts";
import { Sidebar } from "./sidebar.tsx";
import { useStore } from "./use-store.ts";

// Fetched when they are first opened: the first answer needs none of them.
const FormDemo = lazy(() => import("./form-demo.tsx").then((found) => found.FormDemo));
const Inspector = lazy(() => import("./inspector.tsx").then((found) => found.Inspector));
const ModelsDialog = lazy(() => import("./models-dialog.tsx").then((found) => found.ModelsDialog));
const SettingsDialog = lazy(() => import("./settings-dialog.tsx").then((found) => found.SettingsDialog));

type Shown = "none" | "sidebar" | "settings" | "models" | "form";

export function App({ client }: { client: Client }) {
  const [current, setCurrent] = useState(() => OpenConversation.fresh(client));
  const open = useMemo(() => new Map<string, OpenConversation>(), []);
  const [shown, setShown] = useState<Shown>("none");
  const { theme, inspector } = useStore(settings);
  const trouble = useStore(client.trouble);
  const tree = useStore(current.tree);
  open.set(tree.id, current);

  useEffect(() => {
    document.documentElement.dataset.theme = theme;
  }, [theme]);
  const close = () => setShown("none");
  const startNew = () => {
    close();
    setCurrent(OpenConversation.fresh(client));
  };
  // In this tab or another one.
  const removed = async (id: string) => {
    const conversation = open.get(id);
    open.delete(id);
    if (id === tree.id) startNew();
    await conversation?.removed();
  };
  useEffect(
    () => client.calls.on("conversations", ({ id, isRemoved }) => client.heed(isRemoved ? removed(id) : refresh(client, open.get(id)))),
    [client, open, tree.id],
  );

  const openOne = async (id: string) => {
    close();
    const known = open.get(id);
    if (known) return setCurrent(known);
    const conversation = await client.calls.call("readConversation", { id });
    if (!conversation) return;
    const opened = new OpenConversation(client, conversation);
    setCurrent(opened);
    // An answer that another tab asked for, or this one before it was opened anew, may still be coming.
    await opened.chat.resumeStream();
  };
  const sidebar = {
    client,
    currentId: tree.id,
    onNew: startNew,
    onOpen: (id: string) => client.heed(openOne(id)),
    onRemove: (id: string) => client.heed(client.calls.call("removeConversation", { id })),
  };
  return (
    <div class={`app ${inspector ? "with-inspector" : ""}`}>
      <a class="skip" href="#conversation">
        To the conversation
      </a>
      <div class="wide-only">
        <Sidebar {...sidebar} />
      </div>
      <main id="conversation">
        <header class="bar">
          <button type="button" class="icon-button narrow-only" aria-label="Conversations" onClick={() => setShown("sidebar")}>
            <Menu size={19} />
          </button>
          <h1 dir="auto">{tree.title}</h1>
          <span class="grow" />
          <ModelPill client={client} onClick={() => setShown("models")} />
          <button
            type="button"
            class="icon-button"
            aria-label="Under the hood"
            title="Under the hood"
            aria-pressed={inspector}
            onClick={() => set({ inspector: !inspector })}
          >
            <Activity size={18} />
          </button>
          <button type="button" class="icon-button" aria-label="Settings" title="Settings" onClick={() => setShown("settings")}>
            <Gear size={18} />
          </button>
        </header>
        {trouble && (
          <div class="notice failed" role="alert">
            <p>{trouble}</p>
            <button type="button" class="icon-button small" aria-label="Close" onClick={() => client.forgetTrouble()}>
              <X size={15} />
            </button>
          </div>
        )}
        <ChatView client={client} conversation={current} onForm={() => setShown("form")} />
      </main>
      <Suspense fallback={null}>
        {inspector && <Inspector client={client} conversation={current} onClose={() => set({ inspector: false })} />}
      </Suspense>
      {shown === "sidebar" && (
        <Dialog label="Conversations" kind="drawer" onClose={close}>
          <Sidebar {...sidebar} onClose={close} />
        </Dialog>
      )}
      <Suspense fallback={null}>
        {shown === "models" && <ModelsDialog client={client} onClose={close} />}
        {shown === "form" && <FormDemo client={client} onClose={close} />}
        {shown === "settings" && <SettingsDialog conversation={current} onClose={close} />}
      </Suspense>
      <DropArea onFiles={(name, files) => client.load({ kind: "files", name, files })} />
    </div>
  );
}

/** What another tab wrote of a conversation that is open here, and the answer to it as it comes. */
async function refresh(client: Client, conversation: OpenConversation | undefined): Promise<void> {
  if (!conversation) return;
  const written = await client.calls.call("readConversation", { id: conversation.tree.value.id });
  if (written && conversation.take(written)) await conversation.chat.resumeStream();
}
