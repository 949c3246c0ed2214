// A worker that cannot be started.
throw new Error("it does not start");
