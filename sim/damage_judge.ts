/**
 * What becomes of a damaged journal, in one word for each way to look at it.
 *
 * A word is given only when everything about it is so: each event is asked for by its sequence and its id,
 * each region by a query, each receipt is verified. What no word describes is a {@linkcode DamageViolation}:
 * an event that is another one, an event that is not there without one of the words that say so, an error
 * without a type, a refusal that names no place, a reader that changes something.
 *
 * @module
 */

import {
  bindCursor,
  CheckpointAheadError,
  CheckpointCorruptError,
  CheckpointRegionMismatchError,
  CorruptionError,
  EventKind,
  type FindingType,
  FutureVersionError,
  loadCheckpoint,
  type ReadOnlyStore,
  type ReadOptions,
  type Repair,
  Store,
  StoreError,
  verifyJournal,
} from "../mod.ts";
import {
  CONSUMERS,
  isKnown,
  openSpecimen,
  type Specimen,
  SPECIMEN_DIR,
} from "./damage_specimens.ts";
import { segmentName } from "../store/segment_log.ts";
import type { SimFs } from "./sim_fs.ts";

/** What an open, and all that is read through it, comes to. */
export type Verdict =
  /** Every event, with every byte, and nothing is said. */
  | "exact"
  /** Every event, with every byte, and the open report says what is wrong. */
  | "told"
  /** The open is refused with a `CorruptionError` that names the file and the place. */
  | "refused"
  /** The open is refused with a `FutureVersionError` that names the file. */
  | "newer"
  /** Damaged events are refused when they are read, with file and offset; all others are exact. */
  | "refused when read"
  /** A reader: everything in front of the damage, which might be a group that is being written. */
  | "prefix"
  /** A writer: the same; what is cut is kept in `quarantine/`, and the open report says so. */
  | "cut"
  /** A writer: everything in front of the damage, and nothing can tell that there was more. */
  | "unnoticed";

/** What a consumer with a checkpoint comes to. */
export type CursorVerdict =
  /** Goes on where it was. */
  | "exact"
  /** Goes on where it was earlier: events are given again, and none is skipped. */
  | "given again"
  /** Begins with the first event. */
  | "from the start"
  | "CheckpointCorruptError"
  /** The one or the other, as the bits fall: both are right. */
  | "exact or CheckpointCorruptError"
  | "CheckpointRegionMismatchError"
  | "CheckpointAheadError";

/** What verification says that it does not say of the whole journal. */
export type Verification =
  /** Nothing. */
  | "intact"
  /** The journal is intact; a file does not count any more. */
  | "leftover"
  /** The journal is intact; an index is of no use. */
  | "unusable"
  /** The journal is intact; its end is torn. */
  | "tail"
  /** `index.fbati` knows events that are gone. */
  | "lost"
  /** A newer program wrote the file. */
  | "newer"
  /** It names the file. */
  | "damage";

/** Ways to look at a journal. */
export interface Observation {
  /** Reading with `index.fbati` and footers. */
  readonly index: Verdict;
  /** Reading with footers. */
  readonly footers: Verdict;
  /** Reading every frame. */
  readonly frames: Verdict;
  /** Writing, as by default. */
  readonly write: Verdict;
  readonly verify: Verification;
}

/** Which of them. */
export type Handle = keyof Observation;

/** Something is not as any word says. */
export class DamageViolation extends Error {
  /** The class, for messages and logs. */
  override readonly name = "DamageViolation";
}

/** What was done to a specimen. */
export interface Damage {
  /** The damaged disk. */
  readonly fs: SimFs;
  /** Files that a refusal may name, relative to the journal. */
  readonly files: readonly string[];
  /** Where in a file a refusal may point to; default anywhere in it. */
  readonly places?: readonly { readonly start: number; readonly end: number }[];
}

const READ_OPTIONS: Readonly<Record<"index" | "footers" | "frames", ReadOptions>> = {
  index: {},
  footers: { coldStart: { indexFile: false } },
  frames: { coldStart: { indexFile: false, footers: false } },
};

/** Looks at a damaged specimen in one way. */
export function observe(specimen: Specimen, damage: Damage, handle: Handle): string {
  return new Judge(specimen, damage).look(handle);
}

/** Looks at a consumer of a damaged specimen. */
export function observeCursor(
  specimen: Specimen,
  damage: Damage,
  id: keyof typeof CONSUMERS,
): CursorVerdict {
  return new Judge(specimen, damage).consume(id);
}

class Judge {
  readonly #specimen: Specimen;
  readonly #damage: Damage;
  /** Events whose frames are not what they were. */
  readonly #hit = new Set<number>();
  /** What may be missing when the end of the log is: everything from here on. */
  #missingFrom = Infinity;
  /** How far each file is whole, in the order of the log. */
  readonly #wholeTo = new Map<string, number>();

  constructor(specimen: Specimen, damage: Damage) {
    this.#specimen = specimen;
    this.#damage = damage;
    this.#findHits();
  }

  look(handle: Handle): string {
    if (handle === "verify") return this.#verify();
    const fs = this.#damage.fs.snapshot();
    let store: Store | ReadOnlyStore;
    try {
      store = handle === "write"
        ? openSpecimen(fs)
        : Store.openReadOnly(SPECIMEN_DIR, { fs, ...READ_OPTIONS[handle] });
    } catch (error) {
      if (!isUnchanged(fs)) throw new DamageViolation("a refused open has changed something");
      return this.#refusal(error);
    }
    const { oddities, repairs } = store.openReport;
    const { missing, refused } = this.#read(store, handle);
    if (handle !== "write" && !isUnchanged(fs)) {
      throw new DamageViolation("a reader has changed something");
    }
    const verdict = this.#verdict({ handle, missing, refused, oddities, repairs: repairs.length });
    if (handle === "write") {
      for (const repair of repairs) this.#checkKept(fs, repair, missing === 0);
      if (refused === 0) this.#goOn(store as Store, fs, missing);
    }
    store.close();
    return verdict;
  }

  consume(id: keyof typeof CONSUMERS): CursorVerdict {
    const expected = this.#specimen.checkpoints.get(id);
    if (expected === undefined) throw new Error(`Cannot look at "${id}": it has no checkpoint`);
    const fs = this.#damage.fs.snapshot();
    const path = `${SPECIMEN_DIR}/cursors/${id}.ckpt`;
    const store = openSpecimen(fs);
    try {
      const bound = bindCursor(store, CONSUMERS[id], id);
      const { position, started } = bound.cursor.position;
      bound.close();
      const found = loadCheckpoint(SPECIMEN_DIR, id, { fs });
      if (found === undefined) return "from the start";
      if (started && expected.started && position < expected.position) return "given again";
      if (position !== expected.position || started !== expected.started) {
        throw new DamageViolation(
          `"${id}" goes on ${started ? `behind ${position}` : "from the start"} and had come to ` +
            (expected.started ? expected.position : "none"),
        );
      }
      if (JSON.stringify(found) !== JSON.stringify(expected)) {
        throw new DamageViolation(`"${id}" has the checkpoint ${JSON.stringify(found)}`);
      }
      return "exact";
    } catch (error) {
      if (
        error instanceof CheckpointCorruptError || error instanceof CheckpointAheadError ||
        error instanceof CheckpointRegionMismatchError
      ) {
        if (error.path !== path) throw new DamageViolation(`the refusal names "${error.path}"`);
        return error.name as CursorVerdict;
      }
      throw error;
    } finally {
      store.close();
    }
  }

  /** Compares the files with what they were. */
  #findHits(): void {
    const { frames, fs: whole, events } = this.#specimen;
    const { fs } = this.#damage;
    this.#missingFrom = events[events.length - 1].sequence + 1;
    for (const [file, places] of frames) {
      const path = `${SPECIMEN_DIR}/${file}`;
      const was = whole.readFile(path, Number.MAX_SAFE_INTEGER);
      const is = fs.stat(path) === undefined ? NOTHING : fs.readFile(path, Number.MAX_SAFE_INTEGER);
      const isChanged = (start: number, end: number) => {
        for (let i = start; i < end; i++) if (is[i] !== was[i]) return true;
        return false;
      };
      // Without its header a segment gives none of its events.
      const isHeaderHit = isChanged(0, places[0].start);
      const hit = places.filter(({ start, end }) => isHeaderHit || isChanged(start, end));
      for (const { sequence } of hit) this.#hit.add(sequence);
      const start = isHeaderHit ? 0 : hit[0]?.groupStart;
      this.#wholeTo.set(file, start ?? places[places.length - 1].end);
    }
    // Only the end of the newest segment may go. Without its header, the one before is the newest.
    for (const [file, offset] of [...this.#wholeTo].reverse()) {
      const first = frames.get(file)!.find(({ start }) => start >= offset);
      if (first !== undefined) this.#missingFrom = first.sequence;
      if (offset > 0) break;
    }
  }

  #refusal(error: unknown): Verdict {
    if (!(error instanceof StoreError)) throw error;
    if (error instanceof FutureVersionError) {
      this.#assertNamed(error.path);
      return "newer";
    }
    if (!(error instanceof CorruptionError)) {
      throw new DamageViolation(`refused with ${error.name}: ${error.message}`, { cause: error });
    }
    this.#assertNamed(error.path);
    // What the other file of a pair says, it says of itself as a whole.
    const [first] = this.#damage.files;
    // Or where the whole groups end that are left: a part of a group is nothing.
    const isEnd = error.offset > 0 && error.offset === this.#wholeTo.get(first);
    if (error.path === `${SPECIMEN_DIR}/${first}` && !isEnd) {
      this.#assertPlace(error.offset, error.message);
    }
    return "refused";
  }

  #assertNamed(path: string): void {
    const name = path.slice(SPECIMEN_DIR.length + 1);
    if (path.startsWith(`${SPECIMEN_DIR}/`) && this.#damage.files.includes(name)) return;
    throw new DamageViolation(
      `the refusal names "${path}" and not one of ${this.#damage.files.join(", ")}`,
    );
  }

  #assertPlace(offset: number, message: string): void {
    const { places } = this.#damage;
    if (places === undefined) return;
    if (places.some(({ start, end }) => offset >= start && offset <= end)) return;
    const allowed = places.map(({ start, end }) => `${start} to ${end}`).join(", ");
    throw new DamageViolation(`offset ${offset} is none of ${allowed}: ${message}`);
  }

  /** Reads everything in every way. */
  #read(store: Store | ReadOnlyStore, handle: Handle): { missing: number; refused: number } {
    const { events, receipts } = this.#specimen;
    const { nextSequence, firstSequence } = store.stats();
    if (firstSequence !== events[0].sequence) {
      throw new DamageViolation(`the journal begins at ${firstSequence}`);
    }
    const here = events.filter(({ sequence }) => sequence < nextSequence);
    const refused = new Set<number>();
    // Of a writer, the last one is what it says of its open.
    const end = handle === "write" ? nextSequence - 1 : nextSequence;
    const last = events[events.length - 1].sequence;
    const known = here.filter(({ sequence }) => sequence < end);
    if (end > last + 1) throw new DamageViolation(`there are ${end - last - 1} events more`);
    for (const event of known) {
      const { sequence, eventId } = event;
      const found = store.at(sequence);
      if (found === undefined || store.get(eventId)?.globalSequence !== sequence) {
        throw new DamageViolation(`the event at ${sequence} is not found`);
      }
      try {
        if (!isKnown(found, event)) throw new DamageViolation(`the event at ${sequence} is wrong`);
      } catch (error) {
        this.#assertRefusedWhenRead(error, sequence);
        refused.add(sequence);
      }
    }
    const sequencesOf = (list: readonly { readonly sequence: number }[]) =>
      list.map(({ sequence }) => sequence).join();
    const isOld = ({ globalSequence }: { globalSequence: number }) => globalSequence < end;
    const listed = known.filter(({ isRetired }) => !isRetired);
    const queried = store.query().filter(isOld).map(({ globalSequence }) => globalSequence).join();
    if (queried !== sequencesOf(listed)) throw new DamageViolation(`a query gives ${queried}`);
    for (const entity of new Set(events.map(({ entity }) => entity))) {
      const found = [...store.byEntity(entity)].filter(isOld);
      const wanted = listed.filter((event) => event.entity === entity);
      if (found.map(({ globalSequence }) => globalSequence).join() !== sequencesOf(wanted)) {
        throw new DamageViolation(`"${entity}" has other events`);
      }
    }
    for (const receipt of receipts) {
      const { globalSequence } = receipt;
      if (refused.has(globalSequence)) continue;
      const verification = store.verifyReceipt(receipt);
      const isMissing = globalSequence >= end;
      if (
        verification.valid === isMissing ||
        (!verification.valid && verification.reason !== "MissingCommittedEvent")
      ) throw new DamageViolation(`the receipt of ${globalSequence} is ${verification.valid}`);
    }
    const missing = events.length - known.length;
    if (missing > 0 && end !== this.#missingFrom) {
      throw new DamageViolation(
        `events from ${end} on are missing, and damage begins at ${this.#missingFrom}`,
      );
    }
    if (
      refused.size > 0 &&
      [...this.#hit].some((sequence) => sequence < end && !refused.has(sequence))
    ) {
      throw new DamageViolation("some damaged events are refused and some are not");
    }
    if (handle === "write" && store.at(end)?.kind !== EventKind.SYSTEM_OPEN_COMPLETED) {
      throw new DamageViolation("the open has not been recorded");
    }
    return { missing, refused: refused.size };
  }

  #assertRefusedWhenRead(error: unknown, sequence: number): void {
    if (!(error instanceof CorruptionError)) throw error;
    this.#assertNamed(error.path);
    const place = [...this.#specimen.frames.values()].flat().find((frame) =>
      frame.sequence === sequence
    )!;
    if (!this.#hit.has(sequence)) {
      throw new DamageViolation(`the event at ${sequence} is refused, and nothing has hit it`);
    }
    if (error.offset < place.start || error.offset > place.end) {
      throw new DamageViolation(`the refusal of ${sequence} points to ${error.offset}`);
    }
  }

  #verdict(
    { handle, missing, refused, oddities, repairs }: {
      readonly handle: Handle;
      readonly missing: number;
      readonly refused: number;
      readonly oddities: readonly string[];
      readonly repairs: number;
    },
  ): Verdict {
    // Of two damages at once, the worse one.
    if (missing > 0) {
      return handle !== "write" ? "prefix" : repairs > 0 ? "cut" : "unnoticed";
    }
    if (refused > 0) return "refused when read";
    if (repairs > 0) return "cut";
    return oddities.length > 0 ? "told" : "exact";
  }

  /**
   * What was cut is kept, byte for byte.
   *
   * @param isWhole whether no event was cut: damage in front of the end was not looked at.
   */
  #checkKept(fs: SimFs, repair: Repair, isWhole: boolean): void {
    const { segmentId, offset, size, quarantine } = repair;
    const file = segmentName(segmentId);
    const expected = isWhole
      ? this.#specimen.frames.get(file)!.at(-1)!.end
      : this.#wholeTo.get(file)!;
    const was = this.#damage.fs.readFile(`${SPECIMEN_DIR}/${file}`, Number.MAX_SAFE_INTEGER);
    if (offset !== expected) throw new DamageViolation(`it was cut at ${offset}, not ${expected}`);
    const cut = was.subarray(offset, offset + size);
    if (was.subarray(offset + size).some((byte) => byte !== 0)) {
      throw new DamageViolation("more than was cut is gone");
    }
    if (quarantine === "" && cut.every((byte) => byte === 0)) return;
    const kept = fs.readFile(`${SPECIMEN_DIR}/${quarantine}`, Number.MAX_SAFE_INTEGER);
    if (!equal(kept, cut)) throw new DamageViolation("what was kept is not what was cut");
  }

  /** A journal that opens for writing has to go on, and to be in order afterwards. */
  #goOn(store: Store, fs: SimFs, missing: number): void {
    const { events } = this.#specimen;
    const payload = Uint8Array.of(1, 2, 3);
    const event = { entity: "user:1", scope: "app" };
    store.append(event, EventKind.DATA, payload, { payloadEncoding: "opaque" });
    store.close();
    const again = Store.openReadOnly(SPECIMEN_DIR, { fs: fs.snapshot(), ...READ_OPTIONS.frames });
    for (const event of events.slice(0, events.length - missing)) {
      const found = again.at(event.sequence);
      if (found === undefined || !isKnown(found, event)) {
        throw new DamageViolation(`the event at ${event.sequence} is wrong after going on`);
      }
    }
    again.close();
    const { intact, findings } = verifyJournal(SPECIMEN_DIR, { fs });
    if (!intact) throw new DamageViolation(`not intact after going on: ${findings[0]?.reason}`);
  }

  #verify(): Verification {
    const fs = this.#damage.fs.snapshot();
    const { intact, findings } = verifyJournal(SPECIMEN_DIR, { fs });
    if (!isUnchanged(fs)) throw new DamageViolation("verification has changed something");
    const isHarmless = findings.every(({ type }) => isHarmlessType(type));
    if (intact !== isHarmless) throw new DamageViolation(`intact is ${intact}`);
    const usual = new Set(this.#specimen.findings);
    const types = new Set(findings.map(({ type }) => type).filter((type) => !usual.has(type)));
    if (types.has("future")) return "newer";
    if (types.has("index")) throw new DamageViolation("a sound index is accused of lying");
    if (!isHarmless && [...types].some((type) => type !== "lost" && !isHarmlessType(type))) {
      const { files } = this.#damage;
      if (!findings.some(({ file }) => files.includes(file))) {
        throw new DamageViolation(`no finding names one of ${files.join(", ")}`);
      }
      return "damage";
    }
    return types.has("lost") ? "lost" : HARMLESS.find((type) => types.has(type)) ?? "intact";
  }
}

/** What the open report says when an index file knows events that are gone. */
/** What says nothing against the journal, the worst first. */
const HARMLESS = ["tail", "unusable", "leftover"] as const;

function isHarmlessType(type: FindingType): boolean {
  return HARMLESS.some((harmless) => harmless === type);
}
const NOTHING = new Uint8Array(0);

/** Whether nothing has changed; a lock that was missing may have been made. */
function isUnchanged(fs: SimFs): boolean {
  return fs.trace.every((step) => step.type === "create" && step.path.endsWith(".lock"));
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]);
}
