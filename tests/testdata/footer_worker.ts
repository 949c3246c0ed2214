/** A worker that reads the index footers it is sent, and answers with a line for each event. */
import { type FooterLine, linesOfFooter } from "../support/footer_lines.ts";

/** The scope of a dedicated worker, as far as it is used here. */
interface WorkerScope {
  onmessage: ((message: { readonly data: FooterRequest }) => void) | null;
  postMessage(answer: FooterAnswer | "ready"): void;
}

/** A footer, and which one it is. */
export interface FooterRequest {
  readonly segmentId: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What it says. */
export interface FooterAnswer {
  readonly segmentId: number;
  readonly lines: FooterLine[];
}

const scope = globalThis as unknown as WorkerScope;
scope.onmessage = ({ data: { segmentId, bytes } }) => {
  scope.postMessage({ segmentId, lines: linesOfFooter(bytes) });
};
// Bun loses what is sent while a module that this one imports is still awaiting something.
scope.postMessage("ready");
