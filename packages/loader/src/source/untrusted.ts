// For what files and servers say: nothing of it is believed before it was checked.

export function isObject(v: unknown): v is Record<string, unknown> {
  return typeof v === "object" && v !== null && !Array.isArray(v);
}

/** Hears what was passed over or taken otherwise than written, and what to do. */
export type Warn = (warning: string) => void;

/** A text from a file, fit for an error message. */
export function quote(text: string): string {
  const maxLength = 100;
  return JSON.stringify(text.length > maxLength ? `${text.slice(0, maxLength)}…` : text);
}

/** A value of a JSON file, fit for an error message. */
export function showJson(value: unknown): string {
  const maxLength = 80;
  try {
    const text = JSON.stringify(value) ?? "nothing";
    return text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
  } catch {
    // JSON.parse follows a nest to any depth, JSON.stringify does not.
    return "a value that nests too deep to be shown";
  }
}
