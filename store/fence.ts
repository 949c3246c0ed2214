/**
 * Fences: appends that become visible together, or never.
 *
 * What is appended through a fence is written to the log like everything else, behind an event that says
 * that a fence has begun. No reader sees it until an event says that the fence is committed; then all of
 * it is there at once. An event that says it was cancelled hides it for ever. While a fence is open nobody
 * can append past it, so what stands between the two events is exactly what was staged, and any program
 * that reads the log, at any time, finds the same. A fence that a crash left open is cancelled by the next
 * open for writing, which says so in the log.
 *
 * Hidden events keep their sequences, their place in the hash chain, and their clocks. Their idempotency
 * keys are free again.
 *
 * @module
 */

import type { AppendDraft, AppendOptions } from "./append.ts";
import type { CoordinateLike } from "./coordinate.ts";
import { StoreError } from "./errors.ts";
import type { EventDefinition } from "./event_definition.ts";
import type { EventKind } from "./event_kind.ts";
import type { Receipt } from "./receipt.ts";
import type { BatchItem, BatchOptions } from "./store.ts";

/**
 * A fence is open, and this would pass it. Nothing was done: append through the fence, or wait until it is
 * committed or cancelled.
 */
export class FenceActiveError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "FenceActiveError";
  /** Stable, for programs. */
  override readonly code = "FENCE_ACTIVE";

  /**
   * Says what happened.
   *
   * @param action what was attempted, as an infinitive.
   */
  constructor(action: string) {
    super(
      `Cannot ${action} while a fence is open: do it through the fence, or wait until it has ended and try again`,
    );
  }
}

/** The fence has been committed or cancelled before. Nothing was done: begin another one. */
export class FenceNotActiveError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "FenceNotActiveError";
  /** Stable, for programs. */
  override readonly code = "FENCE_NOT_ACTIVE";

  /**
   * Says what happened.
   *
   * @param action what was attempted, as an infinitive.
   */
  constructor(action: string) {
    super(`Cannot ${action} a fence that has ended`);
  }
}

/**
 * The fence of this event was cancelled, so nobody will ever see the event. Append it again, under the
 * same idempotency key if it had one.
 */
export class FenceCancelledError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "FenceCancelledError";
  /** Stable, for programs. */
  override readonly code = "FENCE_CANCELLED";
  /** Where the hidden event stands in the journal. */
  readonly globalSequence: number;

  /**
   * Says what happened.
   *
   * @param globalSequence where the hidden event stands.
   */
  constructor(globalSequence: number) {
    super(`Cannot give a receipt of the event at sequence ${globalSequence}: it was cancelled`);
    this.globalSequence = globalSequence;
  }
}

/** How far a fence has come. `"lost"`: its store stopped, and the next open decides. */
export type FenceState = "open" | "committed" | "cancelled" | "lost";

/** What a fence needs of its store. */
export interface FenceHost {
  /** Throws when the store is closed or its writer has stopped. */
  assertWritable(action: string): void;
  append(
    fence: Fence,
    coordinate: CoordinateLike,
    kind: EventKind | EventDefinition,
    payload: unknown,
    options: AppendOptions,
  ): Receipt;
  appendBatch(fence: Fence, items: readonly BatchItem[], options: BatchOptions): Receipt[];
  appendDraft(fence: Fence, draft: AppendDraft, failIf: AppendOptions["failIf"]): Receipt;
  appendDrafts(
    fence: Fence,
    drafts: readonly AppendDraft[],
    count: number,
    failIf: AppendOptions["failIf"],
  ): Receipt[];
  /** Writes that the fence has ended, and for a commit makes it durable. */
  end(fence: Fence, isCommit: boolean): void;
}

/** An event that stands behind a fence, and its receipt once that is committed. */
export class FenceTicket {
  readonly #fence: Fence;
  readonly #receipt: Receipt;

  /**
   * Made by a fence.
   *
   * @internal
   */
  constructor(fence: Fence, receipt: Receipt) {
    this.#fence = fence;
    this.#receipt = receipt;
  }

  /** Where the event stands in the journal, whether or not anybody will see it. */
  get globalSequence(): number {
    return this.#receipt.globalSequence;
  }

  /** The clock it has in its entity's lane, for the `expectedClock` of the next event behind the fence. */
  get clock(): number {
    return this.#receipt.clock;
  }

  /**
   * The receipt, once the fence is committed; `undefined` while it is open. An event that had been
   * appended before, under the same idempotency key, has its receipt at once.
   *
   * @throws {FenceCancelledError} when the fence was cancelled.
   * @throws {WriterCrashedError} when the store stopped meanwhile: after reopening it, the event is there
   * or not.
   */
  get receipt(): Receipt | undefined {
    const fence = this.#fence;
    if (this.globalSequence < fence.firstSequence) return this.#receipt;
    const { state } = fence;
    if (state === "cancelled") throw new FenceCancelledError(this.globalSequence);
    if (state === "lost") throw fence.loss;
    return state === "committed" ? this.#receipt : undefined;
  }
}

/**
 * A fence, made by {@linkcode Store.beginFence}. At most one is open at a time. Disposing one that has
 * not ended cancels it.
 *
 * @example Two events that are seen together, or not at all
 * ```ts
 * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using store = Store.open("journal", { fs: new MemoryFs() });
 * using fence = store.beginFence();
 * const ticket = fence.append({ entity: "account:1", scope: "bank" }, EventKind.DATA, { minus: 5 });
 * fence.append({ entity: "account:2", scope: "bank" }, EventKind.DATA, { plus: 5 });
 *
 * assert.equal(store.query({ scope: "bank" }).length, 0);
 * const receipts = fence.commit();
 * assert.equal(store.query({ scope: "bank" }).length, 2);
 * assert.equal(ticket.receipt, receipts[0]);
 * ```
 */
export class Fence {
  /** Numbers the fences of this store handle from 1. */
  readonly token: number;
  /** Events from this sequence on stand behind the fence. */
  readonly firstSequence: number;
  readonly #host: FenceHost;
  readonly #receipts: Receipt[] = [];
  #state: FenceState = "open";
  #loss: Error | undefined;

  /**
   * Made by the store.
   *
   * @internal
   */
  constructor(host: FenceHost, token: number, firstSequence: number) {
    this.#host = host;
    this.token = token;
    this.firstSequence = firstSequence;
  }

  /** How far it has come. */
  get state(): FenceState {
    if (this.#state === "open") {
      try {
        this.#host.assertWritable("use a fence");
      } catch (error) {
        this.#lose(error as Error);
      }
    }
    return this.#state;
  }

  /** How many events have been staged. */
  get stagedCount(): number {
    return this.#receipts.length;
  }

  /**
   * Stages an event. It takes its sequence and its place in the chain now; nobody sees it before the
   * commit.
   *
   * @throws {FenceNotActiveError} when the fence has ended.
   * @throws as {@linkcode Store.append}. The fence stays open.
   */
  append<Input>(
    coordinate: CoordinateLike,
    kind: EventKind | EventDefinition<Input, unknown>,
    payload: NoInfer<Input>,
    options: AppendOptions = {},
  ): FenceTicket {
    this.#assertOpen("append through");
    const plainKind = kind as EventKind | EventDefinition;
    return this.#staged(this.#host.append(this, coordinate, plainKind, payload, options));
  }

  /**
   * Stages a batch: all of it, or nothing.
   *
   * @throws {FenceNotActiveError} when the fence has ended.
   * @throws as {@linkcode Store.appendBatch}. The fence stays open.
   */
  appendBatch<const Inputs extends readonly unknown[]>(
    items: { readonly [Index in keyof Inputs]: BatchItem<Inputs[Index]> },
    options: BatchOptions = {},
  ): FenceTicket[] {
    this.#assertOpen("append through");
    const receipts = this.#host.appendBatch(this, items, options);
    return receipts.map((receipt) => this.#staged(receipt));
  }

  /**
   * Stages what was prepared in another realm. The receipt is for that realm to keep until the commit.
   *
   * @internal
   */
  appendDraft(draft: AppendDraft, failIf: AppendOptions["failIf"]): Receipt {
    this.#assertOpen("append through");
    const receipt = this.#host.appendDraft(this, draft, failIf);
    this.#staged(receipt);
    return receipt;
  }

  /**
   * As {@linkcode appendDraft}, for the first `count` drafts, as one batch.
   *
   * @internal
   */
  appendDrafts(
    drafts: readonly AppendDraft[],
    count: number,
    failIf: AppendOptions["failIf"],
  ): Receipt[] {
    this.#assertOpen("append through");
    const receipts = this.#host.appendDrafts(this, drafts, count, failIf);
    for (const receipt of receipts) this.#staged(receipt);
    return receipts;
  }

  /**
   * Makes everything staged durable, and then visible, all at once. Returns the receipts in the order of
   * staging.
   *
   * @throws {FenceNotActiveError} when the fence has ended.
   * @throws {StoreIoError} when it could not be written; the fence is still open, to be committed or
   * cancelled.
   * @throws {WriterCrashedError} when the sync failed: reopen the store. Then all of it is there, or
   * nothing.
   */
  commit(): Receipt[] {
    this.#assertOpen("commit");
    this.#host.end(this, true);
    this.#state = "committed";
    return [...this.#receipts];
  }

  /**
   * Hides everything staged for ever.
   *
   * @throws {FenceNotActiveError} when the fence has ended.
   * @throws {StoreIoError} when that could not be written yet. It is cancelled all the same: the store
   * writes it before anything else.
   * @throws {WriterCrashedError} when the writer has stopped: the next open cancels the fence.
   */
  cancel(): void {
    this.#assertOpen("cancel");
    this.#state = "cancelled";
    this.#host.end(this, false);
  }

  /** Cancels it unless it has ended, and never throws: the next open finishes what could not be written. */
  [Symbol.dispose](): void {
    if (this.state !== "open") return;
    try {
      this.cancel();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
    }
  }

  /**
   * Why the store stopped while it was open.
   *
   * @internal
   */
  get loss(): Error {
    return this.#loss ?? new FenceNotActiveError("use");
  }

  #lose(error: Error): void {
    this.#state = "lost";
    this.#loss = error;
  }

  #assertOpen(action: string): void {
    const { state } = this;
    if (state === "lost") throw this.loss;
    if (state !== "open") throw new FenceNotActiveError(action);
  }

  #staged(receipt: Receipt): FenceTicket {
    // A replayed one is no part of the fence.
    if (!receipt.replayed) this.#receipts.push(receipt);
    return new FenceTicket(this, receipt);
  }
}
