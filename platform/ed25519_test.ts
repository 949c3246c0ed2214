import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { inspect } from "node:util";
import { ed25519Signer, ed25519Verify } from "./ed25519.ts";

/** RFC 8032, section 7.1. */
const VECTORS = [
  {
    seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    publicKey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    message: "",
    signature: "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155" +
      "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  },
  {
    seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    publicKey: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    message: "72",
    signature: "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" +
      "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  },
  {
    seed: "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    publicKey: "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    message: "af82",
    signature: "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac" +
      "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  },
  {
    seed: "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
    publicKey: "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    message: createHash("sha512").update("abc").digest("hex"),
    signature: "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589" +
      "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
  },
];

/** Everything that decodes to a point whose order divides 8, the sloppy spellings included. */
const SMALL_ORDER_KEYS = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000080",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
];

test("the vectors of RFC 8032 come out", () => {
  for (const { seed, publicKey, message, signature } of VECTORS) {
    const signer = ed25519Signer(bytes(seed));
    assert.equal(hex(signer.publicKey), publicKey);
    assert.equal(hex(signer.sign(bytes(message))), signature);
    assert.equal(ed25519Verify(bytes(publicKey), bytes(message), bytes(signature)), true);
  }
});

test("ed25519Verify() refuses any flipped bit, in key, message or signature", () => {
  const { publicKey, message, signature } = VECTORS[2];
  const parts = [bytes(publicKey), bytes(message), bytes(signature)] as const;
  for (const part of parts) {
    for (let bit = 0; bit < part.byteLength * 8; bit++) {
      part[bit >> 3] ^= 1 << (bit & 7);
      assert.equal(ed25519Verify(...parts), false, `bit ${bit}`);
      part[bit >> 3] ^= 1 << (bit & 7);
    }
  }
  assert.equal(ed25519Verify(...parts), true);
});

test("ed25519Verify() says no to keys and signatures of the wrong size", () => {
  const [publicKey, message, signature] = parsed(VECTORS[1]);
  for (const size of [0, 1, 31, 33, 64]) {
    const key = new Uint8Array(size);
    key.set(publicKey.subarray(0, size));
    assert.equal(ed25519Verify(key, message, signature), false);
  }
  for (const size of [0, 1, 63, 65, 128]) {
    const wrong = new Uint8Array(size);
    wrong.set(signature.subarray(0, size));
    assert.equal(ed25519Verify(publicKey, message, wrong), false);
  }
});

test("ed25519Verify() says no to a second spelling of a good signature", () => {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const [publicKey, message, signature] = parsed(VECTORS[1]);
  let scalar = 0n;
  for (let index = 63; index >= 32; index--) scalar = scalar << 8n | BigInt(signature[index]);
  scalar += order;
  for (let index = 32; index < 64; index++, scalar >>= 8n) signature[index] = Number(scalar & 255n);
  assert.equal(ed25519Verify(publicKey, message, signature), false);
});

test("ed25519Verify() says no to keys that anybody could sign for", () => {
  // With such a key, one of these "signatures" fits about every eighth message.
  for (const key of SMALL_ORDER_KEYS) {
    for (const point of SMALL_ORDER_KEYS) {
      const forged = new Uint8Array(64);
      forged.set(bytes(point));
      for (let message = 0; message < 16; message++) {
        assert.equal(ed25519Verify(bytes(key), new Uint8Array([message]), forged), false);
      }
    }
  }
});

test("ed25519Verify() says no to bytes that are no point", () => {
  const [, message, signature] = parsed(VECTORS[1]);
  for (let first = 0; first < 256; first++) {
    const key = new Uint8Array(32).fill(0x5a);
    key[0] = first;
    assert.equal(ed25519Verify(key, message, signature), false);
  }
});

test("ed25519Verify() still works after more keys than it remembers", () => {
  const message = new Uint8Array([1, 2, 3]);
  const signers = Array.from({ length: 300 }, (_, n) => {
    const seed = new Uint8Array(32);
    new DataView(seed.buffer).setUint32(0, n);
    return ed25519Signer(seed);
  });
  for (const round of ["first", "second"]) {
    for (const { publicKey, sign } of signers) {
      assert.equal(ed25519Verify(publicKey, message, sign(message)), true, round);
    }
  }
});

test("ed25519Signer() takes 32 bytes, and its own copy of them", () => {
  for (const size of [0, 31, 33, 64]) {
    assert.throws(() => ed25519Signer(new Uint8Array(size)), RangeError);
  }
  const seed = bytes(VECTORS[1].seed);
  const signer = ed25519Signer(seed);
  seed.fill(0);
  assert.equal(hex(signer.sign(bytes(VECTORS[1].message))), VECTORS[1].signature);
});

test("a signer cannot be made to show its seed", () => {
  const seed = bytes(VECTORS[1].seed);
  const signer = ed25519Signer(seed);
  const shown = [
    JSON.stringify(signer),
    inspect(signer, { depth: 10, showHidden: true, maxArrayLength: 1_000 }),
    signer.sign.toString(),
    String(Reflect.ownKeys(signer)),
  ].join("\n");
  assert.ok(!shown.includes(hex(seed)));
  assert.ok(!shown.includes(Buffer.from(seed).toString("base64url")));
  assert.ok(!shown.replaceAll(/\s+/g, "").includes(seed.subarray(0, 8).join(",")));
});

function parsed(vector: typeof VECTORS[number]): [Uint8Array, Uint8Array, Uint8Array] {
  return [bytes(vector.publicKey), bytes(vector.message), bytes(vector.signature)];
}

function bytes(content: string): Uint8Array {
  return new Uint8Array(Buffer.from(content, "hex"));
}

function hex(content: Uint8Array): string {
  return Buffer.from(content).toString("hex");
}
