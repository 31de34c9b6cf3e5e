import type { Backend } from "@jamba/core";
import type { Door } from "./sides.ts";

export async function openDoor(door: Door, threads: number): Promise<Backend> {
  if (door.kind === "reference") return (await import("@jamba/core")).openReference();
  const { openCpuBackend, openWasmBackend } = await import("@jamba/backend-cpu");
  return door.kind === "cpu" ? openCpuBackend({ threads, level: door.level }) : openWasmBackend({ threads, level: door.level });
}
