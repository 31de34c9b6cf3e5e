import { Upload } from "lucide-preact";
import { useEffect, useState } from "preact/hooks";

/** A GGUF file or a folder of safetensors, dropped anywhere on the page: read from where it lies, never copied or sent. */
export function DropArea({ onFiles }: { onFiles(name: string, files: File[]): void }) {
  const [isOver, setOver] = useState(false);
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files");
    const over = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setOver(true);
    };
    const leave = (event: DragEvent) => event.relatedTarget === null && setOver(false);
    const drop = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setOver(false);
      filesOf(event.dataTransfer!).then(take, (error: Error) => setProblem(`What was dropped could not be read: ${error.message}`));
    };
    const take = (files: File[]) => {
      const weights = files.find(({ name }) => /\.(gguf|safetensors)$/i.test(name));
      setProblem(
        weights ? undefined : "A model is a .gguf file, or a folder with .safetensors files and config.json. Nothing of that was dropped.",
      );
      if (weights) onFiles(weights.name, files);
    };
    addEventListener("dragover", over);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  }, [onFiles]);
  useEffect(() => {
    if (!problem) return;
    const timer = setTimeout(() => setProblem(undefined), 8000);
    return () => clearTimeout(timer);
  }, [problem]);
  return (
    <>
      {isOver && (
        <div class="drop-area">
          <Upload size={36} />
          <p>Drop a .gguf file or a folder of safetensors: it is loaded from where it lies.</p>
        </div>
      )}
      {problem && (
        <div class="notice failed toast" role="alert">
          <p>{problem}</p>
        </div>
      )}
    </>
  );
}

/** Of folders all files within. */
async function filesOf(transfer: DataTransfer): Promise<File[]> {
  // Both lists are emptied once this function waits.
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.() ?? undefined);
  const plain = Array.from(transfer.files);
  if (!entries.some((entry) => entry?.isDirectory)) return plain;
  return (await Promise.all(entries.map((entry) => (entry ? within(entry) : [])))).flat();
}

async function within(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) return [await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))];
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: File[] = [];
  for (;;) {
    // Some at a time, until there are no more.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    found.push(...(await Promise.all(some.map(within))).flat());
  }
}
