import { Plus, Search, Trash2, X } from "lucide-preact";
import { useEffect, useState } from "preact/hooks";
import type { ConversationSummary } from "../channel/service.ts";
import type { Client } from "./client.ts";
import { bytes } from "./format.ts";
import { useStore } from "./store.ts";

export interface SidebarProps {
  readonly client: Client;
  readonly currentId: string;
  onNew(): void;
  onOpen(id: string): void;
  onRemove(id: string): void;
  onClose?(): void;
}

export function Sidebar({ client, currentId, onNew, onOpen, onRemove, onClose }: SidebarProps) {
  const conversations = useStore(client.conversations);
  const [query, setQuery] = useState("");
  const found = useSearch(client, query, conversations);
  const shown = found ?? conversations?.map((one) => ({ ...one, excerpt: undefined }));
  return (
    <nav class="sidebar" aria-label="Conversations">
      <div class="row">
        <Brand />
        <span class="grow" />
        {onClose && (
          <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>
            <X size={18} />
          </button>
        )}
      </div>
      <button type="button" class="new" onClick={onNew}>
        <Plus size={17} /> New conversation
      </button>
      <label class="search">
        <Search size={15} />
        <span class="visually-hidden">Search conversations</span>
        <input type="search" placeholder="Search" value={query} onInput={(event) => setQuery(event.currentTarget.value)} />
      </label>
      <ul class="conversations">
        {shown?.map(({ id, title, excerpt }) => (
          <li key={id} class={id === currentId ? "current" : ""}>
            <button type="button" class="open" aria-current={id === currentId ? "true" : undefined} onClick={() => onOpen(id)}>
              <span dir="auto">{title}</span>
              {excerpt && <small dir="auto">{excerpt}</small>}
            </button>
            <button type="button" class="icon-button small" aria-label={`Delete ${title}`} title="Delete" onClick={() => onRemove(id)}>
              <Trash2 size={15} />
            </button>
          </li>
        ))}
        {shown?.length === 0 && (
          <li class="none">{query ? "Nothing has these words." : "What you talk about is kept here, on this device."}</li>
        )}
      </ul>
      <StorageLine client={client} />
    </nav>
  );
}

function useSearch(client: Client, query: string, conversations: readonly ConversationSummary[] | undefined) {
  const [found, setFound] = useState<readonly (ConversationSummary & { excerpt?: string })[]>();
  useEffect(() => {
    if (!query.trim()) return setFound(undefined);
    let isCurrent = true;
    const timer = setTimeout(async () => {
      const hits = await client.calls.call("search", { text: query });
      if (!isCurrent) return;
      const excerpts = new Map(hits.map(({ id, excerpt }) => [id, excerpt]));
      setFound(conversations?.filter(({ id }) => excerpts.has(id)).map((one) => ({ ...one, excerpt: excerpts.get(one.id) })));
    }, 120);
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [client, query, conversations]);
  return found;
}

function Brand() {
  return (
    <span class="brand">
      <img src="./icon.svg" alt="" width="24" height="24" /> Jamba
    </span>
  );
}

function StorageLine({ client }: { client: Client }) {
  const storage = useStore(client.storage);
  if (!storage) return null;
  if (storage.kind === "memory")
    return (
      <p class="storage warned" role="status">
        Nothing is kept when this tab is closed: {storage.reason}.
      </p>
    );
  return (
    <p class="storage" role="status">
      {storage.usedBytes !== undefined && `${bytes(storage.usedBytes)} kept on this device`}
      {storage.reason && <span class="warned">{storage.reason}</span>}
    </p>
  );
}
