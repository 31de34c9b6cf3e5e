import { Check, Download, FolderOpen, Pause, Trash2 } from "lucide-preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { DeviceChoice, Events, ModelPlan } from "../channel/service.ts";
import type { StoredModel } from "../models/download.ts";
import { type FamilyModel, family } from "../models/family.ts";
import type { Client } from "./client.ts";
import { Dialog } from "./dialog.tsx";
import { bytes, count, seconds } from "./format.ts";
import { settings } from "./settings.ts";
import { useStore } from "./use-store.ts";

export function ModelsDialog({ client, onClose }: { client: Client; onClose(): void }) {
  const model = useStore(client.model);
  const downloads = useStore(client.downloads);
  const storage = useStore(client.storage);
  const { device } = useStore(settings);
  const [stored, setStored] = useState<readonly StoredModel[]>([]);
  const [own, setOwn] = useState<FamilyModel[]>([]);
  const picker = useRef<HTMLInputElement>(null);
  useEffect(() => client.heed(client.calls.call("stored", null).then(setStored)), [client, downloads.size, storage]);
  const others = stored
    .filter(({ id }) => ![...family, ...own].some((one) => one.id === id))
    .map(({ id }) => ({ id, name: id, about: "" }));
  return (
    <Dialog label="Models" onClose={onClose}>
      <label class="field">
        <span>Runs on</span>
        <select value={device} onChange={(event) => client.runOn(event.currentTarget.value as DeviceChoice)}>
          <option value="auto">The fastest that works here</option>
          <option value="webgpu">The GPU, by WebGPU</option>
          <option value="wasm">The processor</option>
        </select>
        {model.ready && (
          <small role="status">
            {model.ready.device}. {model.ready.features.find((one) => /gpu/i.test(one))}
          </small>
        )}
      </label>
      <ul class="models">
        <li class="model">
          <div class="grow">
            <b>Small storyteller</b>
            <p>Comes with this page: 6.7 million parameters, 13 MB.</p>
          </div>
          <UseButton isCurrent={model.kind === "small"} onUse={() => client.load({ kind: "small" })} />
        </li>
        {[...family, ...own, ...others].map((one) => (
          <ModelRow
            key={one.id}
            client={client}
            model={one}
            stored={stored.find(({ id }) => id === one.id)}
            download={downloads.get(one.id)}
            isCurrent={model.kind === "stored" && model.name === one.id}
          />
        ))}
      </ul>
      <AddModel onAdd={(id) => setOwn([...own, { id, name: id, about: "" }])} />
      <div class="row from-disk">
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          accept=".gguf,.safetensors,.json,.jinja"
          onChange={(event) => {
            const files = Array.from(event.currentTarget.files ?? []);
            if (files.length === 0) return;
            client.load({ kind: "files", name: files[0].name, files });
            onClose();
          }}
        />
        <button type="button" class="quiet" onClick={() => picker.current!.click()}>
          <FolderOpen size={15} /> Open files
        </button>
        <small>Or drop a .gguf file or a folder of safetensors on the page. Files are read where they lie.</small>
      </div>
      {storage?.kind === "memory" && <p class="problem">Downloads are gone when this tab is closed: {storage.reason}.</p>}
    </Dialog>
  );
}

interface ModelRowProps {
  readonly client: Client;
  readonly model: FamilyModel;
  readonly stored?: StoredModel;
  readonly download?: Events["download"];
  readonly isCurrent: boolean;
}

function ModelRow({ client, model: { id, name, about }, stored, download, isCurrent }: ModelRowProps) {
  const [plan, setPlan] = useState<ModelPlan>();
  const [problem, setProblem] = useState<string>();
  const [isLooking, setLooking] = useState(false);
  const look = async (): Promise<ModelPlan | undefined> => {
    setLooking(true);
    setProblem(undefined);
    try {
      const found = await client.calls.call("plan", { id });
      setPlan(found);
      return found;
    } catch (error) {
      setProblem((error as Error).message);
      return undefined;
    } finally {
      setLooking(false);
    }
  };
  const fetchIt = async () => {
    // So that the browser does not clear it when the disk fills up.
    await navigator.storage?.persist?.().catch(() => false);
    await client.calls.call("download", { id }).catch((error: Error) => setProblem(error.message));
  };
  const use = async () => {
    const found = plan ?? (await look());
    client.load({ kind: "stored", id, ...(found && { dtype: found.dtype, contextLength: found.contextLength }) });
  };
  return (
    <li class="model">
      <div class="grow">
        <b>{name}</b>
        {about && <p>{about}</p>}
        {name !== id && <small>{id}</small>}
        {plan && <Fit plan={plan} />}
        {download?.progress && <Coming {...download.progress} name={name} />}
        {stored && !stored.isWhole && !download?.progress && <p class="warned">{bytes(stored.sizeBytes)} of it are here.</p>}
        {(problem ?? download?.error) && (
          <p class="problem" role="alert">
            {problem ?? download?.error}
          </p>
        )}
      </div>
      <div class="row">
        {stored && !download?.progress && (
          <button
            type="button"
            class="icon-button"
            aria-label={`Delete ${name}`}
            title={`Delete: ${bytes(stored.sizeBytes)}`}
            onClick={() => client.heed(client.calls.call("removeModel", { id }))}
          >
            <Trash2 size={16} />
          </button>
        )}
        {stored?.isWhole ? (
          <UseButton isCurrent={isCurrent} onUse={() => void use()} />
        ) : download?.progress ? (
          <button type="button" class="quiet" onClick={() => client.heed(client.calls.call("cancelDownload", { id }))}>
            <Pause size={15} /> Pause
          </button>
        ) : plan || stored ? (
          <button type="button" class={plan && !plan.fits ? "quiet" : "primary"} onClick={() => void fetchIt()}>
            <Download size={15} /> {stored ? "Go on" : "Download"}
          </button>
        ) : (
          <button type="button" class="quiet" disabled={isLooking} onClick={() => void look()}>
            {isLooking ? "Looking…" : "Does it fit?"}
          </button>
        )}
      </div>
    </li>
  );
}

function UseButton({ isCurrent, onUse }: { isCurrent: boolean; onUse(): void }) {
  return (
    <button type="button" class={isCurrent ? "quiet" : "primary"} disabled={isCurrent} onClick={onUse}>
      {isCurrent && <Check size={15} />} {isCurrent ? "In use" : "Use"}
    </button>
  );
}

function Fit({ plan: { fits, totalBytes, memoryBytes, dtype, contextLength, downloadBytes, device } }: { plan: ModelPlan }) {
  const held = dtype === "auto" ? "as stored" : `as ${dtype}`;
  return (
    <p class={fits ? "fits" : "fits-not"} data-fits={fits}>
      {fits ? "Fits" : "Does not fit"}: {bytes(totalBytes)} {held}, with {count(contextLength)} tokens of context, of {bytes(memoryBytes)}{" "}
      free ({device}
      ). Download: {bytes(downloadBytes)}.
    </p>
  );
}

function Coming({ doneBytes, totalBytes, bytesPerSecond, name }: NonNullable<Events["download"]["progress"]> & { name: string }) {
  const left = bytesPerSecond > 0 ? `, ${seconds((totalBytes - doneBytes) / bytesPerSecond)} left` : "";
  return (
    <div class="coming">
      <progress aria-label={`Download of ${name}`} value={doneBytes} max={totalBytes} />
      <small>
        {bytes(doneBytes)} of {bytes(totalBytes)}, {bytes(bytesPerSecond)}/s{left}
      </small>
    </div>
  );
}

function AddModel({ onAdd }: { onAdd(id: string): void }) {
  const [id, setId] = useState("");
  return (
    <form
      class="row add-model"
      onSubmit={(event) => {
        event.preventDefault();
        if (id.trim()) onAdd(id.trim());
        setId("");
      }}
    >
      <label class="grow">
        <span class="visually-hidden">Another model of the hub</span>
        <input type="text" placeholder="owner/name or owner/name:Q4_K_M" value={id} onInput={(event) => setId(event.currentTarget.value)} />
      </label>
      <button type="submit" class="quiet" disabled={!id.trim()}>
        Add
      </button>
    </form>
  );
}
