// A worker that serves nothing: it waits, throws, or ends, as it is told.
const scope = globalThis as unknown as {
  addEventListener(type: string, listener: (event: MessageEvent) => void): void;
  postMessage(message: unknown): void;
};
scope.addEventListener("message", ({ data }) => {
  if (data === "throw") throw new Error("it threw");
});
scope.postMessage("ready");
