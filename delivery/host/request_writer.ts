/**
 * From what a caller of a client says to the bytes of a request. All that can be judged without the
 * journal is judged here, so what is wrong is refused without a message, and a payload is encoded once, in
 * the realm of the caller.
 *
 * @module
 */

import {
  APPEND_OPTIONS,
  AppendDraft,
  type AppendOptions,
  compileConditions,
  isDurable,
  prepareDraft,
} from "../../store/append.ts";
import { assertKnownKeys } from "../../store/assert.ts";
import type { CoordinateLike } from "../../store/coordinate.ts";
import { TooLargeError } from "../../store/errors.ts";
import { type EventDefinition, EventRegistry } from "../../store/event_definition.ts";
import type { EventKind } from "../../store/event_kind.ts";
import {
  BATCH_OPTIONS,
  batchError,
  type BatchItem,
  type BatchOptions,
  prepareItem,
} from "../../store/store.ts";
import { GrowingBytes } from "./growing_bytes.ts";
import {
  addDraft,
  type AppendLimits,
  beginRequest,
  endRecord,
  type MoreOptions,
  plainConditions,
} from "./messages.ts";

/** Writes requests. One for each client. */
export class RequestWriter {
  readonly #registry = new EventRegistry();
  readonly #draft = new AppendDraft();
  readonly #limits: AppendLimits;

  /** @param limits those of the store, so that what it would refuse is not sent. */
  constructor(limits: AppendLimits) {
    this.#limits = limits;
  }

  /**
   * Writes an append behind what is in `out`, and returns its size. Nothing is written when it throws.
   *
   * @param fence the token of the fence it goes through.
   */
  append(
    out: GrowingBytes,
    id: number,
    coordinate: CoordinateLike,
    kind: EventKind | EventDefinition,
    payload: unknown,
    options: AppendOptions,
    fence: number | undefined,
  ): number {
    let more: MoreOptions | undefined;
    let durable = false;
    if (options !== NO_OPTIONS || fence !== undefined) {
      assertKnownKeys("append", options, APPEND_OPTIONS);
      durable = isDurable(options.durability);
      more = moreOf(options, fence);
    }
    const draft = this.#draft;
    prepareDraft(draft, this.#registry, coordinate, kind, payload, options);
    assertSize(draft.countedSize, "an event", this.#limits.singleAppendMaxBytes);
    draft.causationItem = undefined;
    const start = beginRequest(out, { id, durable, batchCount: undefined }, more);
    addDraft(out, draft);
    draft.release();
    return endRecord(out, start);
  }

  /** As {@linkcode append}, for a batch. */
  batch(
    out: GrowingBytes,
    id: number,
    items: readonly BatchItem[],
    options: BatchOptions,
    fence: number | undefined,
  ): number {
    const { batchMaxSize, batchMaxBytes, singleAppendMaxBytes } = this.#limits;
    if (items.length > batchMaxSize) {
      const actual = items.length;
      const option = "batch.maxSize";
      throw new TooLargeError({
        what: "a batch",
        unit: "items",
        actual,
        limit: batchMaxSize,
        option,
      });
    }
    assertKnownKeys("append a batch", options, BATCH_OPTIONS);
    const durable = isDurable(options.durability);
    const more = moreOf(options, fence);
    const draft = new AppendDraft();
    // A schema or getter of an item may append something itself, and that goes first.
    const own = new GrowingBytes();
    const start = beginRequest(own, { id, durable, batchCount: items.length }, more);
    let bytes = 0;
    for (let i = 0; i < items.length; i++) {
      try {
        prepareItem(draft, this.#registry, items[i], i);
        assertSize(draft.countedSize, "an event", singleAppendMaxBytes);
      } catch (error) {
        throw batchError(i, error);
      }
      bytes += draft.countedSize;
      assertSize(bytes, "a batch", batchMaxBytes);
      addDraft(own, draft);
    }
    const size = endRecord(own, start);
    out.append(own.bytes.subarray(0, size));
    return size;
  }
}

/** The options of an append without any. */
export const NO_OPTIONS: AppendOptions = Object.freeze({});

function moreOf(
  { failIf }: Pick<AppendOptions, "failIf">,
  fence: number | undefined,
): MoreOptions | undefined {
  if (failIf === undefined) return fence === undefined ? undefined : { fence };
  return { failIf: plainConditions(compileConditions(failIf)), fence };
}

function assertSize(actual: number, what: "an event" | "a batch", limit: number): void {
  if (actual <= limit) return;
  const option = what === "an event" ? "singleAppendMaxBytes" : "batch.maxBytes";
  throw new TooLargeError({ what, unit: "bytes", actual, limit, option });
}
