/** A worker that is there, and was never told to serve. */
globalThis.addEventListener("message", () => {});
