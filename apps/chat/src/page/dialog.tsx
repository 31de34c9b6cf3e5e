// The platform's own dialog: it keeps the focus, closes by Escape, and hides the rest from screen readers by itself.

import { X } from "lucide-preact";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

export interface DialogProps {
  readonly label: string;
  readonly kind?: "window" | "drawer";
  readonly children: ComponentChildren;
  onClose(): void;
}

export function Dialog({ label, kind = "window", children, onClose }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const { current } = dialog;
    current!.showModal();
    return () => current!.close();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape does it
    <dialog
      ref={dialog}
      class={kind}
      aria-label={label}
      // Once it is gone, its own event is late: another one may be open by then.
      onClose={() => dialog.current !== null && onClose()}
      onClick={(event) => event.target === dialog.current && onClose()}
    >
      {kind === "window" && (
        <header class="row">
          <h2>{label}</h2>
          <span class="grow" />
          <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>
            <X size={18} />
          </button>
        </header>
      )}
      {children}
    </dialog>
  );
}
