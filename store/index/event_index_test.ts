import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SeededEntropy } from "../../tests/support/seeded_entropy.ts";
import { EventIndex, ROW_NONE } from "./event_index.ts";
import { encodeFrame, FRAME_HEADER_SIZE, FrameDraft, frameSizeBound, sealFrame } from "../frame.ts";
import { NAME_UNKNOWN } from "./interner.ts";

/** An event as a test says it. */
interface Sample {
  readonly id: Uint8Array;
  readonly entity: string;
  readonly scope: string;
  readonly lane: number;
  readonly kind: number;
  readonly clock: number;
  readonly cause?: Uint8Array;
  readonly tags: readonly string[];
}

const NO_ID = new Uint8Array(16);
const draft = new FrameDraft();
const buffer = new Uint8Array(16 * 1024);
const encoder = new TextEncoder();

/** Adds an event as a reader of the log would: from the bytes of its frame. */
function add(index: EventIndex, sample: Sample, offset: number, eventHash?: Uint8Array): number {
  draft.eventId.set(sample.id);
  draft.causationId.set(sample.cause ?? NO_ID);
  draft.clock = sample.clock;
  draft.lane = sample.lane;
  draft.kind = sample.kind;
  draft.entity = sample.entity;
  draft.scope = sample.scope;
  draft.tags = sample.tags;
  assert.ok(frameSizeBound(draft) < buffer.byteLength);
  sealFrame(buffer, 5, encodeFrame(draft, buffer, 5), draft.payload);
  return index.add(buffer, 5 + FRAME_HEADER_SIZE, offset, eventHash);
}

function idOf(n: number): Uint8Array {
  const id = new Uint8Array(16);
  new DataView(id.buffer).setUint32(12, n);
  id[0] = 1;
  return id;
}

function sample(n: number, more: Partial<Sample> = {}): Sample {
  return {
    id: idOf(n),
    entity: "e",
    scope: "s",
    lane: 0,
    kind: 0x1000,
    clock: 0,
    tags: [],
    ...more,
  };
}

function find(names: EventIndex["entities"], text: string): number {
  const bytes = encoder.encode(text);
  return names.find(bytes, 0, bytes.byteLength);
}

function readId(index: EventIndex, row: number): Uint8Array {
  const start = index.idStartOf(row);
  return index.idBytesOf(row).slice(start, start + 16);
}

/** Everything the index says about every row, against what was added. */
function assertMatches(index: EventIndex, samples: readonly Sample[], step = 1): void {
  assert.equal(index.count, samples.length);
  const heads = new Map<string, number>();
  const firsts = new Map<string, number>();
  for (const [row, { id }] of samples.entries()) {
    const key = id.join();
    if (!firsts.has(key)) firsts.set(key, row);
  }
  for (const [row, expected] of samples.entries()) {
    const chainKey = `${expected.lane} ${expected.entity}`;
    if (row % step === 0) {
      const chain = index.chainOf(row);
      assert.equal(index.entities.text(index.entityOf(chain)), expected.entity);
      assert.equal(index.laneOf(chain), expected.lane);
      assert.equal(index.findChain(find(index.entities, expected.entity), expected.lane), chain);
      assert.equal(index.scopes.text(index.scopeOf(row)), expected.scope);
      assert.equal(index.kindOf(row), expected.kind);
      assert.equal(index.clockOf(row), expected.clock);
      assert.equal(index.offsetOf(row), row * 7);
      assert.equal(index.previousOf(row), heads.get(chainKey) ?? ROW_NONE);
      assert.deepEqual(readId(index, row), expected.id);
      assert.equal(index.findId(expected.id, 0), firsts.get(expected.id.join()));
      const tags = expected.tags.map((tag) => find(index.tags, tag));
      assert.ok(index.hasTags(row, tags));
      assert.ok(tags.every((tag) => index.hasTags(row, [tag])));
    }
    heads.set(chainKey, row);
  }
  for (const [key, row] of heads) {
    const [lane, ...entity] = key.split(" ");
    const chain = index.findChain(find(index.entities, entity.join(" ")), Number(lane));
    assert.equal(index.headOf(chain), row);
  }
  assert.equal(index.chainCount, heads.size);
  assert.equal(index.entityCount, new Set(samples.map(({ entity }) => entity)).size);
}

function anySamples(): fc.Arbitrary<Sample[]> {
  const event = fc.record({
    entity: fc.constantFrom("a", "a:1", "a:2", "b", "größe"),
    scope: fc.constantFrom("s", "t"),
    lane: fc.constantFrom(0, 0, 1, 0xffff_ffff),
    kind: fc.constantFrom(0x1000, 0x1001, 0xf001),
    tags: fc.uniqueArray(fc.constantFrom("x", "y", "z", "é"), { maxLength: 3 }),
    id: fc.nat(60),
    cause: fc.option(fc.nat(60), { nil: undefined }),
  });
  return fc.array(event, { maxLength: 120 }).map((events) => {
    const clocks = new Map<string, number>();
    return events.map(({ id, cause, ...rest }) => {
      const key = `${rest.lane} ${rest.entity}`;
      const clock = clocks.get(key) ?? 0;
      clocks.set(key, clock + 1);
      return { ...rest, id: idOf(id), cause: cause === undefined ? undefined : idOf(cause), clock };
    });
  });
}

test("an empty index knows nothing", () => {
  const index = new EventIndex();
  assert.equal(index.count, 0);
  assert.equal(index.chainCount, 0);
  assert.equal(index.entityCount, 0);
  assert.equal(index.findId(idOf(1), 0), ROW_NONE);
  assert.equal(index.findChain(0, 0), -1);
  assert.equal(index.findChain(0, 5), -1);
  assert.equal(index.headOf(-1), ROW_NONE);
  assert.equal(index.findKind(0x1000), -1);
  assert.deepEqual([...index.kinds()], []);
  assert.equal(find(index.entities, "e"), NAME_UNKNOWN);
});

test("the index says of every row what its frame says", () => {
  fc.assert(
    fc.property(anySamples(), (samples) => {
      const index = new EventIndex();
      for (const [row, sample] of samples.entries()) {
        assert.equal(add(index, sample, row * 7), row);
      }
      assertMatches(index, samples);
    }),
    { numRuns: 150 },
  );
});

test("causes and effects are what a search through all events finds", () => {
  fc.assert(
    fc.property(anySamples(), fc.nat(120), (samples, lookAt) => {
      const index = new EventIndex();
      const causes: number[] = [];
      for (const [row, sample] of samples.entries()) {
        const { cause } = sample;
        causes.push(
          cause === undefined
            ? ROW_NONE
            : samples.slice(0, row).findIndex(({ id }) => id.join() === cause.join()),
        );
        add(index, sample, 0);
        // From here on effects are kept up as events come.
        if (row === lookAt) index.effectsOf(0, 1).next();
      }
      for (let row = 0; row < samples.length; row++) {
        assert.equal(index.causeOf(row), causes[row]);
        const effects = causes.flatMap((cause, effect) => (cause === row ? [effect] : []));
        assert.deepEqual([...index.effectsOf(row, samples.length)], effects);
        const end = Math.floor(samples.length / 2);
        assert.deepEqual([...index.effectsOf(row, end)], effects.filter((effect) => effect < end));
      }
    }),
    { numRuns: 150 },
  );
});

test("an event is never its own cause, nor is one that comes later", () => {
  const index = new EventIndex();
  add(index, sample(1, { cause: idOf(1) }), 0);
  add(index, sample(2, { cause: idOf(3) }), 0);
  add(index, sample(3), 0);
  assert.deepEqual([0, 1, 2].map((row) => index.causeOf(row)), [ROW_NONE, ROW_NONE, ROW_NONE]);
  assert.deepEqual([...index.effectsOf(2, 3)], []);
});

test("the first event with an id keeps it, through every growth of the table", () => {
  const index = new EventIndex();
  add(index, sample(7), 0);
  add(index, sample(7), 0);
  assert.equal(index.findId(idOf(7), 0), 0);
  for (let n = 0; n < 5000; n++) add(index, sample(n % 2500 + 1000), 0);
  add(index, sample(7), 0);
  assert.equal(index.findId(idOf(7), 0), 0);
  for (let n = 0; n < 2500; n++) assert.equal(index.findId(idOf(n + 1000), 0), n + 2);
});

test("findId() reads an id from the middle of an array", () => {
  const index = new EventIndex();
  add(index, sample(7), 0);
  const bytes = new Uint8Array(40);
  bytes.set(idOf(7), 9);
  assert.equal(index.findId(bytes, 9), 0);
  assert.equal(index.findId(bytes, 8), ROW_NONE);
});

test("ids that differ in any one byte are told apart", () => {
  const index = new EventIndex();
  const ids: Uint8Array[] = [];
  for (let byte = 0; byte < 16; byte++) {
    for (const value of [1, 2, 128, 255]) {
      const id = new Uint8Array(16);
      id[byte] = value;
      ids.push(id);
      add(index, sample(0, { id }), 0);
    }
  }
  for (const [row, id] of ids.entries()) assert.equal(index.findId(id, 0), row);
});

test("a head's hash is known when it was given, and forgotten with the next event", () => {
  const index = new EventIndex();
  const hash = (fill: number) => new Uint8Array(32).fill(fill);
  add(index, sample(1), 0, hash(1));
  add(index, sample(2, { entity: "f" }), 0);
  const chains = [0, 1].map((row) => index.chainOf(row));
  const hashOf = (chain: number) => index.headHashes.slice(chain * 32, chain * 32 + 32);
  assert.deepEqual(chains.map((chain) => index.isHeadHashKnown(chain)), [true, false]);
  assert.deepEqual(hashOf(chains[0]), hash(1));
  index.setHeadHash(chains[1], hash(2));
  assert.ok(index.isHeadHashKnown(chains[1]));
  // More chains than there was room for keep what is known.
  for (let n = 0; n < 100; n++) add(index, sample(n + 10, { entity: `other ${n}` }), 0, hash(n));
  assert.deepEqual(hashOf(chains[0]), hash(1));
  assert.deepEqual(hashOf(chains[1]), hash(2));
  for (let n = 0; n < 100; n++) {
    const chain = index.findChain(find(index.entities, `other ${n}`), 0);
    assert.ok(index.isHeadHashKnown(chain));
    assert.deepEqual(hashOf(chain), hash(n));
  }
  add(index, sample(3, { clock: 1 }), 0);
  assert.equal(index.isHeadHashKnown(chains[0]), false);
});

test("hasTags() wants all of them, and repeated tags of a forged frame count once", () => {
  const index = new EventIndex();
  add(index, sample(1, { tags: ["a", "b", "a", "a"] }), 0);
  add(index, sample(2, { tags: ["b"] }), 0);
  add(index, sample(3), 0);
  const [a, b] = ["a", "b"].map((tag) => find(index.tags, tag));
  assert.deepEqual([0, 1, 2].map((row) => index.hasTags(row, [a, b])), [true, false, false]);
  assert.deepEqual([0, 1, 2].map((row) => index.hasTags(row, [b])), [true, true, false]);
  assert.deepEqual([0, 1, 2].map((row) => index.hasTags(row, [])), [true, true, true]);
  assert.deepEqual([0, 1, 2].map((row) => index.hasTags(row, [99])), [false, false, false]);
  assert.deepEqual([...index.byTag.rows(a, 0, 3, false)], [0]);
});

test("two hundred thousand events cross every growth and stay what they were", () => {
  const index = new EventIndex();
  const entropy = new SeededEntropy(5);
  const samples: Sample[] = [];
  const clocks = new Map<string, number>();
  for (let row = 0; row < 200_000; row++) {
    const entity = `entity:${entropy.below(20_000)}`;
    const lane = row % 50 === 0 ? 1 + entropy.below(3) : 0;
    const clock = clocks.get(`${lane} ${entity}`) ?? 0;
    clocks.set(`${lane} ${entity}`, clock + 1);
    const next = sample(row, {
      entity,
      lane,
      clock,
      scope: `scope ${row % 3}`,
      kind: 0x1000 + row % 5,
      cause: row % 4 === 1 ? idOf(entropy.below(row)) : undefined,
      tags: row % 10 === 0 ? [`tag ${row % 70}`] : [],
    });
    samples.push(next);
    add(index, next, row * 7);
    if (row === 70_000) index.findId(idOf(1), 0);
  }
  assertMatches(index, samples, 17);
  for (let row = 1; row < samples.length; row += 404) {
    assert.deepEqual(index.causeOf(row) >= 0, samples[row].cause !== undefined, `row ${row}`);
  }
  for (const boundary of [255, 256, 1023, 1024, 4096, 16_384, 65_535, 65_536, 131_071, 131_072]) {
    assert.deepEqual(readId(index, boundary), idOf(boundary));
    assert.equal(index.findId(idOf(boundary), 0), boundary);
  }
  const perEvent = index.memorySize / index.count;
  assert.ok(perEvent <= 110, `${perEvent} bytes for each event`);
});
