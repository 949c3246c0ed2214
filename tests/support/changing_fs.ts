/**
 * A file system whose every change can be watched, refused, or be the last one before the power goes.
 *
 * @module
 */
import { IoFault, type StoreFile, type StoreFs } from "../../platform/fs.ts";
import type { MemoryFs } from "../../platform/memory.ts";
import { publishBytes, TemporaryFile } from "../../platform/staged_file.ts";

/** One change, about to happen. `run` makes it happen. */
export interface Change {
  readonly op: string;
  readonly path: string;
  /** The new path of a rename. */
  readonly target?: string;
}

/** What stands between a caller and a change. */
export type Watcher = (change: Change, run: () => unknown) => unknown;

const NAME_CHANGES = new Set([
  "createDirAll",
  "rename",
  "remove",
  "removeIfPresent",
  "removeDirAll",
  "syncDir",
  "copy",
  "link",
  "clone",
]);
const FILE_CHANGES = new Set(["writeAt", "append", "sync", "resize"]);

/** The same file system, with every change handed to `watch`. Stages are made of watched calls. */
export function watchedFs(fs: StoreFs, watch: Watcher): StoreFs {
  const watched: StoreFs = new Proxy(fs, {
    get(_, name) {
      if (name === "stage") return (dir: string) => new TemporaryFile(watched, dir);
      if (name === "publish") {
        return (path: string, bytes: Uint8Array) => publishBytes(watched, path, bytes);
      }
      const value: unknown = Reflect.get(fs, name, fs);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        const run = () => value.apply(fs, args);
        const path = String(args[0]);
        if (name === "open") {
          const file = args[1] === "createNew" ? watch({ op: "create", path }, run) : run();
          return watchedFile(file as StoreFile, watch);
        }
        if (!NAME_CHANGES.has(String(name))) return run();
        const target = typeof args[1] === "string" ? args[1] : undefined;
        return watch({ op: String(name), path, ...(target !== undefined && { target }) }, run);
      };
    },
  });
  return watched;
}

function watchedFile(file: StoreFile, watch: Watcher): StoreFile {
  return new Proxy(file, {
    get(_, name) {
      const value: unknown = Reflect.get(file, name, file);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        const run = () => value.apply(file, args);
        return FILE_CHANGES.has(String(name))
          ? watch({ op: String(name), path: file.path }, run)
          : run();
      };
    },
  });
}

/** How a change is refused. */
export type Refusal =
  /** It does not happen, and the next ones do. */
  | "once"
  /** It happens, and says that it did not. */
  | "once, too late"
  /** Neither it nor any later one happens. */
  | "from then on";

/** Refuses the change of that number, counted from 0; says whether it came to that. */
export function refusing(
  fs: StoreFs,
  number: number,
  refusal: Refusal,
): { readonly fs: StoreFs; readonly refused: () => Change | undefined } {
  let count = 0;
  let refused: Change | undefined;
  const watched = watchedFs(fs, (change, run) => {
    const at = count++;
    const { op, path } = change;
    if (at < number || (at > number && refusal !== "from then on")) return run();
    refused ??= change;
    if (refusal === "once, too late") run();
    const verb = op === "removeIfPresent" ? "remove" : op;
    throw new IoFault({ code: "EIO", op: verb, path, message: "refused by the test" });
  });
  return { fs: watched, refused: () => refused };
}

/** The changes that `action` makes, and the files as they are in front of each, and behind the last. */
export function changesOf(
  fs: MemoryFs,
  action: (fs: StoreFs) => void,
): { readonly changes: readonly Change[]; readonly images: readonly MemoryFs[] } {
  const changes: Change[] = [];
  const images: MemoryFs[] = [];
  action(watchedFs(fs, (change, run) => {
    changes.push(change);
    images.push(fs.snapshot());
    return run();
  }));
  images.push(fs.snapshot());
  return { changes, images };
}

/**
 * What a power cut may leave, at every moment of `action`: whatever was synced, and of the names that
 * were changed since the last sync of the directory any part, in any combination. Bytes count as
 * written: whether they are synced before they are named is for other tests.
 */
export function powerCuts(fs: MemoryFs, dir: string, action: (fs: StoreFs) => void): MemoryFs[] {
  const path = fs.canonicalize(dir);
  const images: MemoryFs[] = [];
  let durable = fs.snapshot();
  let pending: ((image: MemoryFs) => void)[] = [];
  const watched = watchedFs(fs, (change, run) => {
    const { op, path: source, target } = change;
    const result = run();
    const name = target ?? source;
    if (op === "syncDir" && source === path) {
      durable = fs.snapshot();
      pending = [];
    } else if (op === "rename") {
      const bytes = fs.readFile(name, 2 ** 31);
      pending.push((image) => {
        image.removeIfPresent(source);
        write(image, name, bytes);
      });
    } else if (op === "create") {
      pending.push((image) =>
        write(image, source, fs.stat(source) ? fs.readFile(source, 2 ** 31) : EMPTY)
      );
    } else if (op === "remove" || op === "removeIfPresent") {
      pending.push((image) => void image.removeIfPresent(source));
    } else return result;
    for (const chosen of choices(pending.length)) {
      const image = durable.snapshot();
      for (const [i, apply] of pending.entries()) if (chosen(i)) apply(image);
      images.push(image);
    }
    return result;
  });
  action(watched);
  return images;
}

const EMPTY = new Uint8Array(0);

/** Every combination of a few changes; of many, those that lack all behind one, or one, or have only one. */
function choices(count: number): ((i: number) => boolean)[] {
  if (count <= 6) {
    return Array.from({ length: 1 << count }, (_, bits) => (i: number) => (bits >> i & 1) === 1);
  }
  return Array.from({ length: count + 1 }, (_, n) => [
    (i: number) => i < n,
    (i: number) => i !== n,
    (i: number) => i === n,
  ]).flat();
}

function write(image: MemoryFs, path: string, bytes: Uint8Array): void {
  image.removeIfPresent(path);
  const file = image.open(path, "createNew");
  file.writeAt(bytes, 0, bytes.byteLength, 0);
  file.close();
}
