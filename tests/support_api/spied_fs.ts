/** A file system that tells somebody about every call before it makes it. */
import type { StoreFs } from "../../platform/fs.ts";

/** Hears of a call: its name, and the path it works on. */
export type Spy = (op: string, path: string) => void;

/** The same file system, with `spy` told of every call to it and to the files it opens. */
export function spiedFs(fs: StoreFs, spy: Spy): StoreFs {
  return wrapped(fs, spy, undefined);
}

function wrapped<T extends object>(target: T, spy: Spy, path: string | undefined): T {
  return new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        spy(String(name), path ?? String(args[0]));
        const result: unknown = value.apply(target, args);
        return name === "open" ? wrapped(result as object, spy, String(args[0])) : result;
      };
    },
  });
}
