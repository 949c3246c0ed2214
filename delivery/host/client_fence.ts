/**
 * A fence that a client has begun in the realm of the store.
 *
 * @module
 */

import type { AppendOptions } from "../../store/append.ts";
import type { CoordinateLike } from "../../store/coordinate.ts";
import type { EventDefinition } from "../../store/event_definition.ts";
import type { EventKind } from "../../store/event_kind.ts";
import { FenceNotActiveError } from "../../store/fence.ts";
import type { Receipt } from "../../store/receipt.ts";
import type { BatchItem, BatchOptions } from "../../store/store.ts";

/** What a fence needs of its client. */
export interface FenceClient {
  append(
    token: number,
    coordinate: CoordinateLike,
    kind: EventKind | EventDefinition,
    payload: unknown,
    options: AppendOptions,
  ): Promise<Receipt>;
  appendBatch(
    token: number,
    items: readonly BatchItem[],
    options: BatchOptions,
  ): Promise<Receipt[]>;
  end(token: number, isCommit: boolean): Promise<void>;
}

/** Where a staged event stands. Its receipt comes with the commit. */
export interface StagedEvent {
  /** Its place in the journal, whether or not anybody will see it. */
  readonly globalSequence: number;
  /** Its place in its entity's lane, for the `expectedClock` of the next event behind the fence. */
  readonly clock: number;
}

/**
 * A fence of a store in another realm, made by `StoreClient.beginFence`. As `Fence`, with promises. When the
 * client is closed, or its realm ends, the host cancels it.
 */
export class ClientFence {
  /** Numbers the fences of the store from 1. */
  readonly token: number;
  readonly #client: FenceClient;
  readonly #staged: Promise<Receipt[]>[] = [];
  #isOpen = true;

  /**
   * Made by a client.
   *
   * @internal
   */
  constructor(client: FenceClient, token: number) {
    this.#client = client;
    this.token = token;
  }

  /** Whether it has not been committed or cancelled through this object. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /**
   * Stages an event. Nobody sees it before the commit.
   *
   * @throws {FenceNotActiveError} when the fence has ended.
   * @throws as `StoreClient.append`. The fence stays open.
   */
  async append<Input>(
    coordinate: CoordinateLike,
    kind: EventKind | EventDefinition<Input, unknown>,
    payload: NoInfer<Input>,
    options: AppendOptions = {},
  ): Promise<StagedEvent> {
    this.#assertOpen("append through");
    const plainKind = kind as EventKind | EventDefinition;
    const receipt = this.#client.append(this.token, coordinate, plainKind, payload, options);
    const [staged] = await this.#stage(receipt.then((receipt) => [receipt]));
    return staged;
  }

  /**
   * Stages a batch: all of it, or nothing.
   *
   * @throws {FenceNotActiveError} when the fence has ended.
   * @throws as `StoreClient.appendBatch`. The fence stays open.
   */
  async appendBatch<const Inputs extends readonly unknown[]>(
    items: { readonly [Index in keyof Inputs]: BatchItem<Inputs[Index]> },
    options: BatchOptions = {},
  ): Promise<StagedEvent[]> {
    this.#assertOpen("append through");
    const plainItems = items as readonly BatchItem[];
    return await this.#stage(this.#client.appendBatch(this.token, plainItems, options));
  }

  /**
   * Makes everything staged durable, and then visible, all at once. Returns the receipts in the order of
   * staging, of what was asked for before this call and could be staged.
   *
   * @throws {FenceNotActiveError} when the fence has ended.
   * @throws {StoreIoError} when it could not be written; the fence is still open.
   * @throws {WriterCrashedError} when the sync failed: then all of it is there after a reopen, or nothing.
   * @throws {HostError} when the host is gone: as with a failed sync.
   */
  async commit(): Promise<Receipt[]> {
    this.#assertOpen("commit");
    this.#isOpen = false;
    try {
      await this.#client.end(this.token, true);
    } catch (error) {
      this.#isOpen = (error as { code?: string }).code === "IO";
      throw error;
    }
    const receipts: Receipt[] = [];
    for (const outcome of await Promise.allSettled(this.#staged)) {
      // A replayed one is no part of the fence.
      if (outcome.status === "fulfilled") {
        receipts.push(...outcome.value.filter(({ replayed }) => !replayed));
      }
    }
    return receipts;
  }

  /**
   * Hides everything staged for ever.
   *
   * @throws {FenceNotActiveError} when the fence has ended.
   * @throws {HostError} when the host is gone: the next open cancels the fence.
   */
  async cancel(): Promise<void> {
    this.#assertOpen("cancel");
    this.#isOpen = false;
    await this.#client.end(this.token, false);
  }

  /** Cancels it unless it has ended. When the host is gone the next open cancels it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    try {
      await this.cancel();
    } catch (error) {
      const { code } = error as { code?: string };
      if (code !== "HOST" && code !== "WRITER_CRASHED" && code !== "IO") throw error;
    }
  }

  async #stage(receipts: Promise<Receipt[]>): Promise<StagedEvent[]> {
    this.#staged.push(receipts);
    return (await receipts).map(({ globalSequence, clock }) => ({ globalSequence, clock }));
  }

  #assertOpen(action: string): void {
    if (!this.#isOpen) throw new FenceNotActiveError(action);
  }
}
