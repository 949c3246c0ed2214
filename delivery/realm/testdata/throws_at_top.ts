/** A worker that cannot be loaded. */
throw new Error("no journal for me");
