import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { CheckpointId } from "./checkpoint_id.ts";
import {
  AlreadyConsumedError,
  AtLeastOnce,
  mintAtLeastOnce,
  ObservationKey,
  ObservedOnce,
} from "./witness.ts";

const ID = CheckpointId.parse("billing");
const SEVENS = new Uint8Array(32).fill(7);

test("O-01 ObservedOnce gives back both parts", () => {
  const witness = mintAtLeastOnce(ID);
  const key = ObservationKey.fromBytes(SEVENS);
  const observed = new ObservedOnce(witness, key);
  assert.equal(observed.isConsumed, false);
  const parts = observed.intoParts();
  assert.equal(parts.atLeastOnce, witness);
  assert.equal(parts.key, key);
  assert.deepEqual(parts.key.asBytes(), SEVENS);
});

test("O-02 a witness names exactly the id it was made for, and is equal to others of it", () => {
  const witness = mintAtLeastOnce(ID);
  assert.equal(witness.checkpointId, "billing");
  assert.ok(witness.equals(mintAtLeastOnce(ID)));
  assert.ok(!witness.equals(mintAtLeastOnce(CheckpointId.parse("billing2"))));
  assert.ok(!witness.equals({ checkpointId: ID } as never));
  assert.match(inspect(witness), /billing/);
});

test("O-05 an ObservedOnce is taken apart once", () => {
  const observed = new ObservedOnce(mintAtLeastOnce(ID), ObservationKey.fromBytes(SEVENS));
  observed.intoParts();
  assert.equal(observed.isConsumed, true);
  for (let n = 0; n < 2; n++) {
    assert.throws(
      () => observed.intoParts(),
      (error) => error instanceof AlreadyConsumedError && error.code === "ALREADY_CONSUMED",
    );
  }
});

test("O-05 a witness cannot be forged: by a constructor, a literal, a prototype, or a clone", () => {
  const witness = mintAtLeastOnce(ID);
  const key = ObservationKey.fromBytes(SEVENS);
  const Forge = AtLeastOnce as unknown as new (...args: unknown[]) => AtLeastOnce;
  for (const token of [undefined, Symbol("AtLeastOnce"), ID]) {
    assert.throws(() => new Forge(token, ID), TypeError);
    assert.throws(() => new Forge(ID, token), TypeError);
  }
  const fakes = [
    undefined,
    null,
    "billing",
    { checkpointId: ID },
    Object.create(AtLeastOnce.prototype),
    Object.assign(Object.create(AtLeastOnce.prototype), {}),
    structuredClone(witness),
    new Proxy(witness, {}),
  ];
  for (const fake of fakes) {
    assert.equal(AtLeastOnce.is(fake), false);
    assert.throws(() => new ObservedOnce(fake as AtLeastOnce, key), TypeError);
  }
  const fakeKeys = [SEVENS, { asBytes: () => SEVENS }, structuredClone(key)];
  for (const fake of fakeKeys) {
    assert.equal(ObservationKey.is(fake), false);
    assert.throws(() => new ObservedOnce(witness, fake as ObservationKey), TypeError);
  }
  const observed = new ObservedOnce(witness, key);
  assert.equal(ObservedOnce.is(observed), true);
  assert.equal(ObservedOnce.is(structuredClone(observed)), false);
  assert.equal(ObservedOnce.is({ intoParts: () => ({}) }), false);
  // Nothing of it can be taken from one object to another either.
  assert.throws(() => ObservedOnce.prototype.intoParts.call({} as never), TypeError);
});

test("O-05 a witness has nothing to make another one with, and cannot be changed", () => {
  const statics = Object.getOwnPropertyNames(AtLeastOnce);
  assert.deepEqual(statics.filter((name) => !["length", "name", "prototype"].includes(name)), [
    "is",
  ]);
  assert.throws(() => Object.assign(mintAtLeastOnce(ID), { extra: 1 }), TypeError);
});

test("O-01 an ObservationKey has 32 bytes of its own", () => {
  const bytes = SEVENS.slice();
  const key = ObservationKey.fromBytes(bytes);
  bytes[0] = 1;
  assert.deepEqual(key.asBytes(), SEVENS);
  key.asBytes()[0] = 1;
  assert.deepEqual(key.asBytes(), SEVENS);
  assert.ok(key.equals(ObservationKey.fromBytes(SEVENS)));
  assert.ok(!key.equals(ObservationKey.fromBytes(bytes)));
  for (const size of [0, 31, 33]) {
    assert.throws(() => ObservationKey.fromBytes(new Uint8Array(size)), RangeError);
  }
  for (const value of [undefined, "7".repeat(32), Array(32).fill(7), new ArrayBuffer(32)]) {
    assert.throws(() => ObservationKey.fromBytes(value as never), TypeError);
  }
});

/** Everything below is checked by the compiler and never run. */
const claims: readonly ((witness: AtLeastOnce, key: ObservationKey) => void)[] = [
  function aWitnessIsNoLiteral(_, key) {
    // @ts-expect-error: the constructor is private
    new AtLeastOnce(Symbol(), ID);
    // @ts-expect-error: a literal has no brand
    const forged: AtLeastOnce = { checkpointId: ID, equals: () => true };
    // @ts-expect-error: nor has one here
    new ObservedOnce({ checkpointId: ID, equals: () => true }, key);
    void forged;
  },
  function aKeyIsNoBytes(witness) {
    // @ts-expect-error: bytes are made a key first
    new ObservedOnce(witness, SEVENS);
    // @ts-expect-error: the constructor is private
    new ObservationKey(SEVENS);
  },
  function anObservationIsNoLiteral(atLeastOnce, key) {
    const parts = { atLeastOnce, key };
    // @ts-expect-error: a literal has no brand
    const forged: ObservedOnce = { isConsumed: false, intoParts: () => parts };
    void forged;
  },
  function anIdIsParsed() {
    // @ts-expect-error: a text is no id
    mintAtLeastOnce("billing");
  },
];

test("O-05 the compiler refuses forgeries", () => {
  assert.equal(claims.length, 4);
});
