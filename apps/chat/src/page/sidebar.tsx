import { Download, Plus, Search, Trash2, Upload, X } from "lucide-preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { ConversationSummary } from "../channel/service.ts";
import type { Client } from "./client.ts";
import { bytes } from "./format.ts";
import { useStore } from "./use-store.ts";

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
            <button
              type="button"
              class="icon-button small"
              aria-label={`Export ${title}`}
              title="Export"
              onClick={() => client.heed(give(client, title, id))}
            >
              <Download size={15} />
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
      <Exchange client={client} />
      <StorageLine client={client} />
    </nav>
  );
}

/** Conversations to a file and back. */
function Exchange({ client }: { client: Client }) {
  const picker = useRef<HTMLInputElement>(null);
  const [said, setSaid] = useState<string>();
  const take = async (file: File | undefined) => {
    if (!file) return;
    try {
      const { taken, refused } = await client.calls.call("importAll", { json: await file.text() });
      setSaid(`${taken} taken in${refused > 0 ? `, ${refused} are none and were left out` : ""}.`);
    } catch (error) {
      setSaid((error as Error).message);
    }
  };
  return (
    <>
      <div class="exchange">
        <button type="button" class="quiet" onClick={() => client.heed(give(client, "conversations"))}>
          <Download size={14} /> Export all
        </button>
        <button type="button" class="quiet" onClick={() => picker.current!.click()}>
          <Upload size={14} /> Import
        </button>
        <input
          ref={picker}
          type="file"
          hidden
          accept=".json,application/json"
          onChange={(event) => {
            void take(event.currentTarget.files?.[0]);
            event.currentTarget.value = "";
          }}
        />
      </div>
      {said && (
        <small role="status" class="said-of-import">
          {said}
        </small>
      )}
    </>
  );
}

/** One conversation or all, as a file of this name. */
async function give(client: Client, name: string, id?: string): Promise<void> {
  const json = await client.calls.call("exportFile", { id });
  const url = URL.createObjectURL(new Blob([json], { type: "application/json" }));
  const plain = name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
  Object.assign(document.createElement("a"), {
    href: url,
    download: `jamba-${plain}-${new Date().toISOString().slice(0, 10)}.json`,
  }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function useSearch(client: Client, query: string, conversations: readonly ConversationSummary[] | undefined) {
  const [found, setFound] = useState<readonly (ConversationSummary & { excerpt?: string })[]>();
  useEffect(() => {
    if (!query.trim()) return setFound(undefined);
    let isCurrent = true;
    const find = async () => {
      const hits = await client.calls.call("search", { text: query });
      if (!isCurrent) return;
      const excerpts = new Map(hits.map(({ id, excerpt }) => [id, excerpt]));
      setFound(conversations?.filter(({ id }) => excerpts.has(id)).map((one) => ({ ...one, excerpt: excerpts.get(one.id) })));
    };
    const timer = setTimeout(() => client.heed(find()), 120);
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
  const isOffline = useStore(client.isOffline);
  if (!storage) return null;
  if (storage.kind === "memory")
    return (
      <p class="storage warned" role="status">
        Nothing is kept when this tab is closed: {storage.reason}.
      </p>
    );
  return (
    <p class="storage" role="status">
      <span>{storage.usedBytes ? `${bytes(storage.usedBytes)} kept on this device` : "Kept on this device"}</span>
      {isOffline && <span class="offline-ready">Opens offline</span>}
      {storage.reason && <span class="warned">{storage.reason}</span>}
    </p>
  );
}
