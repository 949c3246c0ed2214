/**
 * The frontier in shared memory: written by the realm that owns the store, read by all others.
 *
 * | Word | Field         | Notes                                                                 |
 * | ---: | ------------- | --------------------------------------------------------------------- |
 * |    0 | layout        | {@linkcode LAYOUT}; a reader of another layout refuses                |
 * |    1 | generation    | odd while the owner writes; changed by read-modify-write only         |
 * |    2 | epoch         | counts what has become visible; wraps                                 |
 * |    3 | poison        | 1 once the writer has stopped, for ever                               |
 * |    4 | state         | 0 open, 1 closing, 2 closed                                           |
 * |    5 | lane count    | lanes the store knows; those beyond {@linkcode LANE_SLOTS} are not here |
 * |  6–8 | waiters       | who waits for what an append moves, for `durable`, for `applied`      |
 * |    9 | parked        | who waits for the epoch                                               |
 *
 * and from byte 64 on float64 numbers: the six points (wall time, sequence), the wall time of the oldest
 * event that is not durable or -1, and then {@linkcode LANE_SLOTS} lanes of {@linkcode LANE_STRIDE} numbers:
 * six points, the lane's number, and two notes of the owner's.
 *
 * **Why no view is torn.** The numbers are stored and loaded plainly, because a plain store costs
 * nothing, and plain accesses may be torn and reordered. What makes them safe is that generation is only
 * ever changed by read-modify-write operations, by both sides: the owner adds 1 before and after
 * writing, and a reader ends by adding 0. In the memory model of JavaScript such an operation
 * synchronizes with the next one on the same word, whoever does it. So when a reader's last operation
 * finds the same even number that its first load found, then everything the owner wrote before that
 * number happened before the reads, and the owner's next section begins with an operation that comes
 * after the reader's, so what it writes happens after the reads. Between the two nothing was written:
 * there was no race, and each read saw the one value there was. A reader that ended with a load instead
 * would be right on x86 and wrong on ARM, where an earlier plain load may be served later than it.
 *
 * **Why no wake-up is lost.** A waiter first adds itself to a count, then reads the generation and the
 * state that belongs to it, then sleeps for as long as generation has that very value. The owner first
 * moves generation on, then loads the count, and notifies when it is not 0. All of these are
 * sequentially consistent. If the owner's load finds 0, the waiter had not yet counted itself, so it
 * reads a generation that has already moved, and with it the new state. Otherwise the owner notifies:
 * either the waiter is asleep already and wakes, or it is about to fall asleep on a value that is gone,
 * and does not. The same goes for the epoch. Who waits for `durable` is not woken by what moves only
 * `visible`: it sleeps on, on an old value, until somebody notifies.
 *
 * A realm that is killed while it waits leaves its count behind: the owner notifies nobody then, each
 * time, which costs a little and is otherwise harmless.
 *
 * @module
 */

import type { SharedWords } from "../../platform/shared_words.ts";

/** Names this layout. */
export const LAYOUT = 0x6270_0001;
/** How many lanes fit. */
export const LANE_SLOTS = 64;

/** Words; see the module. */
export const WORD_LAYOUT = 0;
/** Odd while the owner writes. */
export const WORD_GENERATION = 1;
/** Counts publications. */
export const WORD_EPOCH = 2;
/** 1 when the writer has stopped. */
export const WORD_POISON = 3;
/** One of the states. */
export const WORD_STATE = 4;
/** Lanes the store knows. */
export const WORD_LANE_COUNT = 5;
/** Who waits for accepted, written, visible or emitted. */
export const WORD_WAITERS_APPEND = 6;
/** Who waits for durable. */
export const WORD_WAITERS_DURABLE = 7;
/** Who waits for applied. */
export const WORD_WAITERS_APPLIED = 8;
/** Who waits for the epoch. */
export const WORD_PARKED = 9;
const WORD_COUNT = 16;

/** The states of a store, by their number. */
export const FRONTIER_STATES = ["open", "closing", "closed"] as const;
/** Number of the last state. */
export const STATE_CLOSED = 2;

/** Numbers of six points. */
export const POINTS_STRIDE = 12;
/** The wall time of the event that made the pending age start, or {@linkcode NOT_PENDING}. */
export const PENDING_SINCE_INDEX: number = POINTS_STRIDE;
/** Everything is durable. */
export const NOT_PENDING = -1;
/** Where lanes begin. */
export const LANES_INDEX = 16;
/** From one lane to the next: a multiple of a cache line. */
export const LANE_STRIDE = 16;
/** Where in a lane its number is. */
export const LANE_NUMBER: number = POINTS_STRIDE;
/** Where in a lane the owner notes that it has something that is not durable. */
export const LANE_DIRTY: number = POINTS_STRIDE + 1;
/** Where in a lane the owner notes that it has something staged behind the open fence. */
export const LANE_STAGED: number = POINTS_STRIDE + 2;

const NUMBERS_OFFSET = WORD_COUNT * Int32Array.BYTES_PER_ELEMENT;
const NUMBER_COUNT = LANES_INDEX + LANE_SLOTS * LANE_STRIDE;
/** Bytes of the whole. */
export const FRONTIER_MEMORY_SIZE: number = NUMBERS_OFFSET +
  NUMBER_COUNT * Float64Array.BYTES_PER_ELEMENT;

/** The words of the frontier. */
export function wordsOf(memory: SharedArrayBuffer): SharedWords {
  return new Int32Array(memory, 0, WORD_COUNT);
}

/** The numbers of the frontier. */
export function numbersOf(memory: SharedArrayBuffer): Float64Array<SharedArrayBuffer> {
  return new Float64Array(memory, NUMBERS_OFFSET, NUMBER_COUNT);
}
