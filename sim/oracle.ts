/**
 * What a journal must say after a crash, event by event, and what it must not.
 *
 * A driver tells an {@linkcode Oracle} what it is about to ask of a store, and what the store has answered:
 * one {@linkcode OracleFact} for each, in order. A fact either *permits* something, because it may have
 * happened by now (`"submitted"`, `"committing"`, …), or *claims* it, because the store has promised it
 * (`"acknowledged"`, `"durable"`, …). After a crash {@linkcode Oracle.judge} opens what is left and holds it
 * to both:
 *
 * - what was claimed is there, with its bytes, at its sequence: all that was acknowledged when only the
 *   process died, all that was durable when the power was cut;
 * - nothing else is there but what was permitted; groups and fences are there as a whole or not at all;
 * - receipts verify, keyed retries get the first receipt, a keyed retry of what is lost appends once;
 * - hashes and chains verify, and every way to the index gives the same answers;
 * - a cursor goes on where its checkpoint was committed, and leaves nothing out;
 * - what was erased, pruned or cancelled stays so; a copy that was reported is whole;
 * - the store works: it appends, syncs, closes and opens, and another crash at once changes nothing.
 *
 * It knows nothing of how a store works, only what it promises. Payloads are opaque bytes, and no two
 * submissions may have the same: that is how an event is known again that nobody was told about.
 *
 * @module
 */

import {
  bindCursor,
  CorruptionError,
  EventKind,
  JournalNotFoundError,
  type JournalReader,
  NeverSkipChecker,
  type Receipt,
  Store,
  type StoredEvent,
  StoreError,
  type StoreOptions,
  verifyJournal,
} from "../mod.ts";
import { bytesEqual, toHex } from "../store/hash.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import type { SimFs } from "./sim_fs.ts";

/** An event as its caller described it. */
export interface Submission {
  /** Whose it is. */
  readonly entity: string;
  /** Where. */
  readonly scope: string;
  /** Its lane. */
  readonly lane: number;
  /** Its kind. */
  readonly kind: number;
  /** Its bytes, unlike those of any other submission. */
  readonly payload: Uint8Array;
  /** Its idempotency key. */
  readonly key?: string;
}

/** Something that a driver tells. A group is what one call appends; both numbers are the driver's own. */
export type OracleFact =
  /** Permits a group; behind a fence, if that is committed. */
  | {
    readonly type: "submitted";
    readonly group: number;
    readonly fence?: number;
    readonly events: readonly Submission[];
  }
  /** Claims that a group is written. Behind a fence there are no receipts yet, only sequences. */
  | {
    readonly type: "acknowledged";
    readonly group: number;
    readonly sequences: readonly number[];
    readonly receipts?: readonly Receipt[];
  }
  /** Claims that nothing is left of a group. */
  | { readonly type: "refused"; readonly group: number }
  /** Claims that everything below a sequence survives a power cut. */
  | { readonly type: "durable"; readonly below: number }
  /**
   * Permits that what is not durable is gone: a sync has failed, or the power was cut and nobody has opened
   * the journal since.
   */
  | { readonly type: "dropped" }
  /** Permits that a fence is seen. */
  | { readonly type: "committing"; readonly fence: number }
  /** Claims that a fence is seen and durable; receipts in the order of its events. */
  | { readonly type: "committed"; readonly fence: number; readonly receipts: readonly Receipt[] }
  /** Claims that a fence is open as before, or cancelled: nobody will see it, unless it is committed. */
  | { readonly type: "uncommitted"; readonly fence: number }
  /** Permits that a checkpoint moves, to behind this sequence. */
  | {
    readonly type: "checkpointing";
    readonly id: string;
    readonly region: { readonly entity?: string; readonly scope?: string };
    readonly sequence: number;
  }
  /** Claims that it has. */
  | { readonly type: "checkpointed"; readonly id: string; readonly sequence: number }
  /** Permits that these payloads are erased. */
  | { readonly type: "erasing"; readonly sequences: readonly number[] }
  /** Claims that they are. */
  | { readonly type: "erased"; readonly sequences: readonly number[] }
  /** Permits that everything below a sequence is pruned. */
  | { readonly type: "pruning"; readonly below: number }
  /** Claims that the journal begins at a sequence. */
  | { readonly type: "pruned"; readonly first: number }
  /** Permits a copy of the journal in another directory. */
  | { readonly type: "copying"; readonly target: string }
  /** Claims that it is whole and durable, and what its next sequence is. */
  | { readonly type: "copied"; readonly target: string; readonly next: number }
  /**
   * Claims that what was found by an open is durable, and permits nothing else any more, but what stood in
   * front of the first sequence.
   */
  | {
    readonly type: "opened";
    readonly found: ReadonlyMap<string, number>;
    readonly first: number;
  };

/** Facts that claim something; the others permit. */
export const CLAIMS: ReadonlySet<OracleFact["type"]> = new Set([
  "acknowledged",
  "refused",
  "durable",
  "committed",
  "uncommitted",
  "checkpointed",
  "erased",
  "pruned",
  "copied",
  "opened",
]);

/** A journal says what it must not, or does not say what it must. */
export class OracleViolation extends Error {
  /** The class, for messages and logs. */
  override readonly name = "OracleViolation";
}

/** How a journal is judged. */
export interface JudgeOptions {
  /** Whether the power was cut, so that only what is durable has to be there. */
  readonly powerCut: boolean;
  /**
   * Whether the disk may have answered syncs that it never did. Then nothing has to be there, files may be
   * of different times, and any refusal with a reason is legal. What a store shows still has to be true:
   * nothing invented or half there, every byte as it was submitted.
   */
  readonly isLying?: boolean;
  /** Why an error of an open is legal; without, and when it says nothing, none is. */
  readonly excuse?: (error: StoreError) => string | undefined;
}

/** What came of it. */
export type Verdict =
  /** The journal opened, and is as it should be; so many of the events that drivers know are there. */
  | { readonly type: "sound"; readonly events: number }
  /** The open was refused, and that was legal. */
  | { readonly type: "refused"; readonly reason: string };

interface Group {
  readonly events: readonly Submission[];
  readonly fence: number | undefined;
  state: "submitted" | "acknowledged" | "refused";
  sequences: readonly number[] | undefined;
  receipts: readonly (Receipt | undefined)[] | undefined;
}

interface Place {
  readonly group: Group;
  readonly item: number;
}

interface Mark {
  readonly region: { readonly entity?: string; readonly scope?: string };
  committed: number;
  /** Where it may be, too: whoever has tried to move it was not told that it has. */
  readonly pending: Set<number>;
}

/** Judges a journal by what was promised; see the top of the file. */
export class Oracle {
  readonly #dir: string;
  readonly #options: StoreOptions;
  readonly #groups = new Map<number, Group>();
  /** Every submission by its payload. */
  readonly #places = new Map<string, Place>();
  readonly #bySequence = new Map<number, Place>();
  readonly #fences = new Map<number, "open" | "committing" | "committed">();
  readonly #checkpoints = new Map<string, Mark>();
  readonly #erasable = new Set<number>();
  readonly #erased = new Set<number>();
  #isDropped = false;
  #durableBelow = 0;
  #first = 0;
  #pruneBelow = 0;
  readonly #copies = new Map<string, number | undefined>();
  /** Whether the disk that is being judged may have lied. */
  #isLying = false;

  /**
   * An oracle that has been told nothing.
   *
   * @param dir of the journal.
   * @param options to open it with.
   */
  constructor(dir: string, options: StoreOptions = {}) {
    this.#dir = dir;
    this.#options = options;
  }

  /** Takes in what a driver tells. */
  take(fact: OracleFact): void {
    switch (fact.type) {
      case "submitted":
        return this.#submit(fact);
      case "acknowledged": {
        const group = this.#groups.get(fact.group)!;
        group.state = "acknowledged";
        group.sequences = fact.sequences;
        group.receipts = fact.receipts;
        fact.sequences.forEach((sequence, item) => this.#bySequence.set(sequence, { group, item }));
        return;
      }
      case "refused":
        this.#groups.get(fact.group)!.state = "refused";
        return;
      case "durable":
        this.#durableBelow = Math.max(this.#durableBelow, fact.below);
        return;
      case "dropped":
        this.#isDropped = true;
        return;
      case "committing":
        this.#fences.set(fact.fence, "committing");
        return;
      case "committed":
        return this.#commit(fact.fence, fact.receipts);
      case "uncommitted":
        this.#fences.set(fact.fence, "open");
        return;
      case "checkpointing": {
        const { id, region, sequence } = fact;
        const mark = this.#checkpoints.get(id) ?? { region, committed: -1, pending: new Set() };
        mark.pending.add(sequence);
        this.#checkpoints.set(id, mark);
        return;
      }
      case "checkpointed": {
        const mark = this.#checkpoints.get(fact.id)!;
        mark.committed = fact.sequence;
        mark.pending.clear();
        return;
      }
      case "erasing":
        for (const sequence of fact.sequences) this.#erasable.add(sequence);
        return;
      case "erased":
        for (const sequence of fact.sequences) this.#erased.add(sequence);
        return;
      case "pruning":
        this.#pruneBelow = Math.max(this.#pruneBelow, fact.below);
        return;
      case "pruned":
        this.#first = this.#pruneBelow = fact.first;
        return;
      case "copying":
        this.#copies.set(fact.target, undefined);
        return;
      case "copied":
        this.#copies.set(fact.target, fact.next);
        return;
      case "opened":
        return this.#open(fact.found, fact.first);
    }
  }

  /**
   * Opens what a crash has left, and throws unless it is as it should be. The disk is used up by it.
   *
   * @throws {OracleViolation} saying what is wrong.
   */
  judge(fs: SimFs, options: JudgeOptions): Verdict {
    const { powerCut, isLying = false } = options;
    this.#isLying = isLying;
    let about = "a reader";
    try {
      const before = fs.trace.length;
      const byReader = this.#readOnly(fs, options, this.#dir);
      if (fs.trace.length !== before) fail("a reader changed something");
      about = "a writer";
      const store = attempt(() => this.#openStore(fs), options);
      if ("reason" in store) {
        // With indexes a reader does not look at old frames, and a lie may be in one of them.
        if (byReader !== undefined && !("reason" in byReader) && !isLying) {
          fail(`a writer refuses what a reader opens: ${store.reason}`);
        }
        return { type: "refused", reason: store.reason };
      }
      const found = this.#check(store, powerCut, this.#dir);
      if (byReader !== undefined) {
        if (!("reason" in byReader)) {
          same("what a reader and a writer see", byReader.lines, found.lines);
        } else if (!isLying) fail(`a reader refuses what a writer opens: ${byReader.reason}`);
      } else if (found.lines.size > 0) fail("a reader finds no journal, and a writer does");
      if (!isLying) {
        about = "a copy";
        for (const [target, next] of this.#copies) this.#checkCopy(fs, target, next, found);
        about = "a cursor";
        this.#checkCheckpoints(store);
      }
      about = "a second crash";
      this.#checkCrashAtOnce(fs, found);
      about = "a retry";
      const retried = this.#checkRetries(store, found);
      about = "going on";
      this.#checkLife(fs, store, found, retried);
      return { type: "sound", events: found.lines.size };
    } catch (error) {
      if (error instanceof OracleViolation) throw error;
      // What an index still knows may not be there any more.
      if (isLying && error instanceof CorruptionError) {
        return { type: "refused", reason: error.message };
      }
      const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      throw new OracleViolation(`${about}: ${what}`, { cause: error });
    }
  }

  /**
   * Holds what an open store shows to what was promised, and what a reader beside it shows. Changes nothing.
   *
   * @throws {OracleViolation} saying what is wrong.
   */
  inspect(fs: SimFs, store: Store): void {
    this.#isLying = false;
    const found = this.#check(store, false, this.#dir);
    const byReader = this.#readOnly(fs, { powerCut: false }, this.#dir);
    if (byReader === undefined || "reason" in byReader) {
      fail("a reader does not open beside a writer");
    }
    same("what a reader and the writer beside it see", byReader.lines, found.lines);
  }

  /**
   * Holds what an open handle shows to what was promised, as after the death of a process.
   *
   * @throws {OracleViolation} saying what is wrong.
   */
  look(reader: JournalReader): void {
    this.#check(reader, false, this.#dir);
  }

  // ---- what it is told ------------------------------------------------------------------------------

  #submit({ group: number, fence, events }: OracleFact & { type: "submitted" }): void {
    const group: Group = {
      events,
      fence,
      state: "submitted",
      sequences: undefined,
      receipts: undefined,
    };
    this.#groups.set(number, group);
    if (fence !== undefined && !this.#fences.has(fence)) this.#fences.set(fence, "open");
    events.forEach(({ payload }, item) => {
      const hex = toHex(payload);
      if (this.#places.has(hex)) {
        throw new RangeError(`Cannot tell two submissions of ${hex} apart`);
      }
      this.#places.set(hex, { group, item });
    });
  }

  #commit(fence: number, receipts: readonly Receipt[]): void {
    this.#fences.set(fence, "committed");
    let start = 0;
    for (const group of this.#groups.values()) {
      if (group.fence !== fence || group.state !== "acknowledged") continue;
      group.receipts = receipts.slice(start, start += group.events.length);
      for (const { globalSequence } of receipts) {
        this.#durableBelow = Math.max(this.#durableBelow, globalSequence + 1);
      }
    }
  }

  #open(found: ReadonlyMap<string, number>, first: number): void {
    this.#bySequence.clear();
    let end = 0;
    for (const group of this.#groups.values()) {
      const isPruned = group.state === "acknowledged" && group.sequences![0] < first;
      const sequences = isPruned
        ? group.sequences!
        : group.events.map(({ payload }) => found.get(toHex(payload)));
      if (sequences.some((sequence) => sequence === undefined)) {
        group.state = "refused";
        // Others stand there by now.
        group.sequences = undefined;
        continue;
      }
      group.state = "acknowledged";
      group.sequences = sequences as number[];
      group.sequences.forEach((sequence, item) => {
        this.#bySequence.set(sequence, { group, item });
        end = Math.max(end, sequence + 1);
      });
      if (group.fence !== undefined) this.#fences.set(group.fence, "committed");
    }
    this.#durableBelow = end;
    this.#isDropped = false;
  }

  // ---- what it asks ---------------------------------------------------------------------------------

  #openStore(fs: SimFs): Store {
    return Store.open(this.#dir, {
      ...this.#options,
      fs,
      clock: new SimClock(),
      // No two lives of a journal draw the same ids.
      entropy: new SimEntropy(LIFE_SEED + fs.operationCount),
    });
  }

  /** What a reader sees, by two ways; `undefined` when there is no journal yet. */
  #readOnly(
    fs: SimFs,
    options: JudgeOptions,
    dir: string,
  ): Found | Refusal | undefined {
    const { powerCut } = options;
    const ways = [WITH_INDEXES, WITHOUT_INDEXES].map((coldStart) => {
      try {
        const reader = attempt(
          () => Store.openReadOnly(dir, { ...READ_ONLY, fs, coldStart }),
          options,
        );
        if ("reason" in reader) return reader;
        const found = this.#check(reader, powerCut, dir);
        reader.close();
        return found;
      } catch (error) {
        if (error instanceof JournalNotFoundError) return undefined;
        throw error;
      }
    });
    const [a, b] = ways.map((way) =>
      way === undefined ? NOTHING : "reason" in way ? REFUSED : way.lines
    );
    // With indexes an open does not look at old frames, and may not notice what is wrong with them.
    // After a lie it may know what is gone, and only it.
    const isLoss = a === REFUSED && this.#isLying;
    if (b !== REFUSED && !isLoss) same("what is seen with and without indexes", a, b);
    return ways[0];
  }

  /** Holds everything that a handle shows to what was permitted and claimed. */
  #check(reader: JournalReader, powerCut: boolean, dir: string): Found {
    const { firstSequence, nextSequence } = reader.stats();
    const isCopy = dir !== this.#dir;
    if (!isCopy) this.#checkFirst(firstSequence);
    const events = new Map<number, StoredEvent>();
    const counts = new Map<Group, number>();
    const lines = new Map<number, string>();
    for (let sequence = firstSequence; sequence < nextSequence; sequence++) {
      const event = reader.at(sequence);
      if (event === undefined) continue;
      if (event.globalSequence !== sequence) fail(`${sequence} gives ${event.globalSequence}`);
      if (EventKind.isReserved(event.kind)) {
        if (!OWN_KINDS.has(event.kind)) fail(`${sequence} has the kind ${event.kind}`);
        continue;
      }
      const { group, item } = this.#placeOf(event, isCopy);
      const count = counts.get(group) ?? 0;
      if (item !== count) fail(`${sequence} is item ${item} of its group, and ${count} is next`);
      const before = count === 0 ? undefined : events.get(sequence - 1);
      if (count > 0 && before === undefined) fail(`the group at ${sequence} is torn apart`);
      counts.set(group, count + 1);
      events.set(sequence, event);
      lines.set(sequence, lineOf(event));
      this.#checkEvent(reader, event, group.events[item], group.receipts?.[item]);
    }
    // A copy ends where the journal did when it was made.
    const end = isCopy ? nextSequence : Infinity;
    this.#checkGroups(counts, powerCut, { first: firstSequence, end });
    checkIndex(reader, events);
    return { lines, counts, first: firstSequence, next: nextSequence };
  }

  #checkFirst(first: number): void {
    // A disk that has lied may have forgotten that something was pruned.
    const least = this.#isLying ? 0 : this.#first;
    if (first < least || first > this.#pruneBelow) {
      fail(`it begins at ${first}, and should at ${least} to ${this.#pruneBelow}`);
    }
  }

  /** Which submission an event is. */
  #placeOf(event: StoredEvent, isCopy: boolean): Place {
    const { globalSequence, payloadBytes } = event;
    const place = payloadBytes === undefined
      ? this.#bySequence.get(globalSequence)
      : this.#places.get(toHex(payloadBytes));
    if (place === undefined) fail(`${globalSequence} was invented: ${lineOf(event)}`);
    const { group, item } = place;
    if (group.state === "refused") fail(`${globalSequence} came back: ${lineOf(event)}`);
    if (group.fence !== undefined && this.#fences.get(group.fence) === "open") {
      fail(`${globalSequence} is seen, and its fence is not committed: ${lineOf(event)}`);
    }
    const expected = group.sequences?.[item];
    if (expected !== undefined && expected !== globalSequence) {
      fail(`${globalSequence} was acknowledged at ${expected}: ${lineOf(event)}`);
    }
    if (payloadBytes === undefined && !this.#erasable.has(globalSequence)) {
      fail(`${globalSequence} has lost its payload`);
    }
    const isErased = this.#erased.has(globalSequence) && !this.#isLying;
    // A copy may be older than that.
    if (payloadBytes !== undefined && isErased && !isCopy) {
      fail(`${globalSequence} was erased, and has its payload`);
    }
    return place;
  }

  #checkEvent(
    reader: JournalReader,
    event: StoredEvent,
    submitted: Submission,
    receipt: Receipt | undefined,
  ): void {
    const { entity, scope, lane, kind, key } = submitted;
    const { globalSequence, eventId } = event;
    if (
      event.entity !== entity || event.scope !== scope || event.lane !== lane || event.kind !== kind
    ) fail(`${globalSequence} is not as it was submitted: ${lineOf(event)}`);
    if (reader.get(eventId)?.globalSequence !== globalSequence) {
      fail(`${globalSequence} is not found by its id`);
    }
    if (key !== undefined && reader.getByKey(key)?.globalSequence !== globalSequence) {
      fail(`${globalSequence} is not found by its key`);
    }
    if (receipt === undefined) return;
    const verification = reader.verifyReceipt(receipt);
    if (!verification.valid) {
      fail(`the receipt of ${globalSequence} does not verify: ${verification.reason}`);
    }
  }

  /** Groups and fences are whole or not there, and what has to be there is. */
  #checkGroups(
    counts: ReadonlyMap<Group, number>,
    powerCut: boolean,
    { first, end }: { readonly first: number; readonly end: number },
  ): void {
    const seen = new Map<number, boolean>();
    let missing = Infinity;
    let last = -1;
    for (const group of this.#groups.values()) {
      const { events, fence, sequences } = group;
      const count = counts.get(group) ?? 0;
      const start = sequences?.[0] ?? Infinity;
      if (start < first) {
        if (start + events.length <= first) continue;
        fail(`a prune went through the group at ${start}`);
      }
      if (start >= end && count === 0) continue;
      if (count !== 0 && count !== events.length) {
        fail(`${count} of ${events.length} events of a group are there`);
      }
      if (fence !== undefined && group.state !== "refused") {
        const isSeen = seen.get(fence) ?? count > 0;
        if (isSeen !== count > 0) fail(`a part of fence ${fence} is seen`);
        seen.set(fence, isSeen);
      }
      if (group.state !== "acknowledged" || start >= end) continue;
      if (count > 0) last = Math.max(last, start);
      const isPromised = fence === undefined
        ? !(powerCut || this.#isDropped) || start + events.length <= this.#durableBelow
        : this.#fences.get(fence) === "committed";
      if (count === 0 && isPromised && !this.#isLying) {
        fail(`what was acknowledged at ${start} is not there`);
      }
      if (count === 0 && fence === undefined) missing = Math.min(missing, start);
    }
    if (last > missing) fail(`${last} is there, and ${missing} before it is not`);
  }

  #checkCopy(fs: SimFs, target: string, next: number | undefined, source: Found): void {
    if (next === undefined && fs.stat(target) === undefined) return;
    let found: Found | Refusal | undefined;
    try {
      // What is copied was made durable first, so no copy has less.
      found = this.#readOnly(fs, { powerCut: true, excuse: () => "no copy yet" }, target);
    } catch (error) {
      if (next === undefined && error instanceof JournalNotFoundError) return;
      throw error;
    }
    if (found === undefined || "reason" in found) {
      if (next !== undefined) fail(`the copy in ${target} does not open`);
      return;
    }
    const end = next ?? found.next;
    if (found.next !== end) fail(`the copy in ${target} ends at ${found.next}, not at ${end}`);
    // The source may have been pruned since, and may have given up payloads that the copy has.
    const first = Math.max(source.first, found.first);
    const isShared = (sequence: number) => sequence >= first && sequence < end;
    const lines = (of: Found) =>
      new Map(
        [...of.lines].filter(([sequence]) => isShared(sequence)).map((
          [sequence, line],
        ) => [
          sequence,
          this.#erasable.has(sequence) ? line.slice(0, line.lastIndexOf(" ")) : line,
        ]),
      );
    same(`the copy in ${target} and its source`, lines(found), lines(source));
  }

  #checkCheckpoints(store: Store): void {
    for (const [id, { region, committed, pending }] of this.#checkpoints) {
      using bound = bindCursor(store, region, id);
      const { position, started } = bound.committed;
      const at = started ? position : -1;
      if (at !== committed && !pending.has(at)) {
        const places = [committed, ...pending].join(" or ");
        fail(`checkpoint ${id} is at ${at}, and should be at ${places}`);
      }
      const checker = new NeverSkipChecker({ from: bound.committed });
      checker.delivered(bound.cursor.pollBatch(1000));
      checker.finish(store, region);
    }
  }

  /** What an open has shown survives a power cut: it is synced. And it is not repaired twice. */
  #checkCrashAtOnce(fs: SimFs, found: Found): void {
    for (const image of fs.crashImages("durable")) {
      const again = this.#openStore(image);
      const { lines, next } = this.#check(again, true, this.#dir);
      same("what is seen after another crash", lines, found.lines);
      if (again.openReport.repairs.length > 0) fail("what was repaired is repaired again");
      // And the event of that open.
      if (next !== found.next + 1) {
        fail(`it ends at ${next} after another crash, not at ${found.next}`);
      }
    }
  }

  /** Retries every key there was; says how many events that has appended. */
  #checkRetries(store: Store, found: Found): Set<string> {
    const appended = new Set<string>();
    for (const group of this.#groups.values()) {
      for (const [item, { key, payload, entity, scope, lane, kind }] of group.events.entries()) {
        if (key === undefined || appended.has(key)) continue;
        const first = found.counts.has(group) ? store.getByKey(key) : undefined;
        if (first === undefined && store.getByKey(key) !== undefined) continue;
        // What was pruned has given up its key.
        const options = { lane, idempotencyKey: key, payloadEncoding: "opaque" } as const;
        const next = store.stats().nextSequence;
        const retry = () => store.append({ entity, scope }, kind as EventKind, payload, options);
        const receipt = retry();
        const again = retry();
        const expected = first?.globalSequence ?? next;
        if (receipt.globalSequence !== expected || again.globalSequence !== expected) {
          fail(`a retry of ${key} is answered with ${receipt.globalSequence}, not ${expected}`);
        }
        if (receipt.replayed !== (first !== undefined) || !again.replayed) {
          fail(`a retry of ${key} does not say whether it is one`);
        }
        const original = group.receipts?.[item];
        if (first !== undefined && original !== undefined) {
          if (!bytesEqual(original.header, receipt.header)) {
            fail(`a retry of ${key} is answered with another receipt`);
          }
        }
        if (first === undefined) appended.add(key);
      }
    }
    return appended;
  }

  /** The store goes on, closes, and opens; nothing is left over. */
  #checkLife(fs: SimFs, store: Store, found: Found, retried: ReadonlySet<string>): void {
    const receipt = store.append(LIFE, EventKind.DATA, null, { idempotencyKey: "batpak:life" });
    store.sync();
    if (store.durableSequence !== receipt.globalSequence + 1) fail("a sync made nothing durable");
    const { durable, visible } = store.frontier();
    for (const point of [durable, visible]) {
      if (point.globalSequence !== receipt.globalSequence) {
        fail(`the frontier is at ${point.globalSequence}, not at ${receipt.globalSequence}`);
      }
    }
    store.close();
    const report = verifyJournal(this.#dir, { fs });
    // After a lie it may be that only this notices: an open that has an index does not read old frames.
    if (this.#isLying && report.findingCount > 0) return;
    if (report.findingCount > 0) fail(`it does not verify: ${JSON.stringify(report.findings)}`);
    for (const { name } of fs.list(this.#dir)) {
      if (!KNOWN_NAMES.test(name)) fail(`${name} is left over`);
    }
    const again = Store.openReadOnly(this.#dir, { ...READ_ONLY, fs });
    const { nextSequence } = again.stats();
    // The event above, and the close.
    const expected = receipt.globalSequence + 2;
    if (nextSequence !== expected) {
      fail(`it ends at ${nextSequence} after a close, not ${expected}`);
    }
    for (const [sequence, line] of found.lines) {
      const now = again.at(sequence);
      if (now === undefined || lineOf(now) !== line) fail(`${sequence} changed by a close`);
    }
    for (const key of retried) {
      if (again.getByKey(key) === undefined) fail(`the retry of ${key} is not there after a close`);
    }
    if (!again.verifyReceipt(receipt).valid) fail("the new receipt does not verify after a close");
    again.close();
  }
}

/** What a handle shows of the events that drivers know. */
interface Found {
  readonly lines: Lines;
  readonly counts: ReadonlyMap<Group, number>;
  readonly first: number;
  readonly next: number;
}

interface Refusal {
  readonly reason: string;
}

const LIFE_SEED = 1_000_000;
const LIFE = { entity: "batpak:oracle", scope: "batpak:oracle" };
const WITH_INDEXES = { indexFile: true, footers: true };
const WITHOUT_INDEXES = { indexFile: false, footers: false };
const READ_ONLY = { clock: new SimClock() };
const OWN_KINDS: ReadonlySet<number> = new Set([
  EventKind.SYSTEM_OPEN_COMPLETED,
  EventKind.SYSTEM_CLOSE_COMPLETED,
  EventKind.SYSTEM_FENCE_BEGIN,
  EventKind.SYSTEM_FENCE_COMMIT,
  EventKind.SYSTEM_FENCE_CANCEL,
]);
/** What a journal consists of when nothing is going on. */
const KNOWN_NAMES =
  /^(\d{6,}\.fbat|store\.meta|journal\.base|index\.fbati|quarantine|cursors|\.batpak\.lock)$/;

function fail(message: string): never {
  throw new OracleViolation(message);
}

/** Opens; an error that is excused is a refusal. */
function attempt<T>(open: () => T, { excuse, isLying = false }: JudgeOptions): T | Refusal {
  try {
    return open();
  } catch (error) {
    const reason = error instanceof StoreError && !(error instanceof JournalNotFoundError)
      ? excuse?.(error) ?? (isLying ? error.message : undefined)
      : undefined;
    if (reason === undefined) throw error;
    return { reason };
  }
}

type Lines = ReadonlyMap<number, string>;

const NOTHING: Lines = new Map([[-1, "no journal"]]);
const REFUSED: Lines = new Map([[-1, "a refusal"]]);

function same(what: string, actual: Lines, expected: Lines): void {
  for (const sequence of new Set([...actual.keys(), ...expected.keys()])) {
    const [a, b] = [actual.get(sequence), expected.get(sequence)];
    if (a !== b) fail(`${what} differ: ${a ?? "nothing"} and ${b ?? "nothing"}`);
  }
}

/** Everything an event says. */
function lineOf(event: StoredEvent): string {
  const { globalSequence, eventId, entity, scope, lane, clock, kind, payloadBytes } = event;
  const payload = payloadBytes === undefined ? "erased" : toHex(payloadBytes.subarray(0, 16));
  const hash = toHex(event.eventHash.subarray(0, 8));
  return [globalSequence, eventId, entity, scope, lane, clock, kind, hash, payload].join(" ");
}

/** Everything that can be asked of the index gives the events that were found one by one. */
function checkIndex(reader: JournalReader, events: ReadonlyMap<number, StoredEvent>): void {
  const all = reader.query().filter(({ kind }) => !EventKind.isReserved(kind));
  const listed = [...events.values()].filter(({ isRetired }) => !isRetired);
  sameSequences("all", all, listed);
  const by = (name: "entity" | "scope", value: string) =>
    listed.filter((event) => event[name] === value);
  for (const entity of new Set(listed.map((event) => event.entity))) {
    sameSequences(entity, [...reader.byEntity(entity)], by("entity", entity));
  }
  for (const scope of new Set(listed.map((event) => event.scope))) {
    sameSequences(scope, reader.query({ scope }), by("scope", scope));
  }
  for (const kind of new Set(listed.map((event) => event.kind))) {
    sameSequences(`${kind}`, reader.query({ kind }), listed.filter((event) => event.kind === kind));
  }
}

function sameSequences(
  what: string,
  actual: readonly StoredEvent[],
  expected: readonly StoredEvent[],
): void {
  if (
    actual.length === expected.length &&
    actual.every(({ globalSequence }, i) => globalSequence === expected[i].globalSequence)
  ) return;
  const list = (events: readonly StoredEvent[]) =>
    events.map(({ globalSequence }) => globalSequence).join(",");
  fail(`the index lists ${list(actual)} for ${what}, and there are ${list(expected)}`);
}
