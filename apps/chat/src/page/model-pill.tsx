import { Cpu } from "lucide-preact";
import type { ModelStatus } from "../channel/service.ts";
import type { Client } from "./client.ts";
import { useStore } from "./use-store.ts";

/** Which model there is, or how far it has come. */
export function ModelPill({ client, onClick }: { client: Client; onClick?(): void }) {
  const model = useStore(client.model);
  const { phase, progress } = model;
  const share = progress && progress.totalBytes > 0 ? progress.doneBytes / progress.totalBytes : 0;
  return (
    <button type="button" class={`pill ${phase}`} data-phase={phase} title={model.error} onClick={onClick}>
      <Cpu class="pill-icon" size={15} />
      <span class="pill-name">{model.name || "Model"}</span>
      <span class="pill-state" role="status">
        {stateOf(model)}
      </span>
      {phase === "loading" && <progress aria-label="Loading the model" value={share} max={1} />}
    </button>
  );
}

function stateOf({ phase, progress, ready }: ModelStatus): string {
  if (phase === "failed") return "could not be loaded";
  if (phase === "loading") return progress ? `${progress.what === "fetch" ? "fetching" : "loading"}…` : "starting…";
  if (!ready) return "";
  return ready.isGpu ? "GPU" : ready.threads === 1 ? "1 thread" : `${ready.threads} threads`;
}
