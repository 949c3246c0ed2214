import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { concat } from "../../tests/support/journal_bytes.ts";
import { assertImage, ImageError, ImageReader, ImageWriter, ORDER_MARK } from "./image.ts";

function bytesOf(image: ImageWriter): Uint8Array<ArrayBuffer> {
  // A copy that begins its own buffer, as a file does that has been read.
  return new Uint8Array(concat(...image.parts));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const SAMPLE = (() => {
  const image = new ImageWriter();
  image.number(ORDER_MARK);
  image.words(Uint32Array.of(1, 2, 3));
  image.bytes(Uint8Array.of(0xca, 0xfe));
  image.number(-0.5);
  return bytesOf(image);
})();

test("ImageWriter writes the documented sections, each at a multiple of 8", () => {
  assert.equal(
    hex(SAMPLE),
    "0000004030207041" + // 0x01020304 as float64, least byte first
      "01000000" + "02000000" + "03000000" + "00000000" +
      "cafe" + "000000000000" +
      "000000000000e0bf",
  );
});

test("ImageWriter counts its bytes, and keeps arrays until they are written", () => {
  const image = new ImageWriter();
  const words = Uint32Array.of(7, 8, 9);
  image.words(words, 2);
  image.bytes(new Uint8Array(0));
  assert.equal(image.size, 8);
  words[1] = 5;
  assert.equal(hex(bytesOf(image)), "0700000005000000");
});

test("ImageReader takes off what ImageWriter put on, as views of it", () => {
  const image = new ImageReader(SAMPLE);
  assert.equal(image.rest, 40);
  assert.equal(image.number(), 0x0102_0304);
  const words = image.words(3);
  assert.deepEqual([...words], [1, 2, 3]);
  assert.equal(words.buffer, SAMPLE.buffer);
  assert.deepEqual([...image.bytes(2)], [0xca, 0xfe]);
  assert.equal(image.number(), -0.5);
  assert.equal(image.rest, 0);
});

test("ImageReader begins anywhere at a multiple of 8 of its buffer, and nowhere else", () => {
  for (let start = 0; start <= 16; start++) {
    const shifted = new Uint8Array(SAMPLE.byteLength + start);
    shifted.set(SAMPLE, start);
    const read = () => new ImageReader(shifted.subarray(start)).number();
    if (start % 8 === 0) assert.equal(read(), ORDER_MARK);
    else assert.throws(read, new ImageError("it is not aligned"));
  }
});

test("ImageReader reports an image that is cut at any byte", () => {
  for (let size = 0; size < SAMPLE.byteLength; size++) {
    const image = new ImageReader(SAMPLE.subarray(0, size));
    assert.throws(() => {
      image.number();
      image.words(3);
      image.bytes(2);
      image.number();
    }, new ImageError("it ends early"));
  }
});

test("ImageReader takes nothing beyond its bytes, however much is asked for", () => {
  for (const size of [41, 48, 2 ** 31, 2 ** 32, 2 ** 52, Infinity, NaN]) {
    const image = new ImageReader(SAMPLE);
    assert.throws(() => image.bytes(size), ImageError);
    assert.throws(() => image.words(size), ImageError);
    assert.equal(image.rest, 40);
  }
});

test("ImageReader.count() takes whole numbers up to its bound and no others", () => {
  const bounded: [value: number, max: number, ok: boolean][] = [
    [0, 0, true],
    [10, 10, true],
    [10, 10.5, true],
    [11, 10.5, false],
    [1, 0, false],
    [0.5, 10, false],
    [-1, 10, false],
    [NaN, 10, false],
    [Infinity, Infinity, false],
    [-Infinity, 10, false],
    [2 ** 53, Number.MAX_SAFE_INTEGER, false],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, true],
  ];
  for (const [value, max, ok] of bounded) {
    const image = new ImageWriter();
    image.number(value);
    const read = () => new ImageReader(bytesOf(image)).count(max);
    if (ok) assert.equal(read(), value);
    else {
      assert.throws(
        read,
        new ImageError(`it has a count of ${value}, and ${max} would be the most`),
      );
    }
  }
});

test("assertImage() names the problem", () => {
  assertImage(true, "fine");
  assert.throws(() => assertImage(false, "a chain leads nowhere"), {
    name: "ImageError",
    message: "a chain leads nowhere",
  });
});

test("any sections come back as they were", () => {
  const section = fc.oneof(
    fc.record({ type: fc.constant("number" as const), value: fc.double() }),
    fc.record({
      type: fc.constant("words" as const),
      value: fc.uint32Array({ maxLength: 20 }),
    }),
    fc.record({ type: fc.constant("bytes" as const), value: fc.uint8Array({ maxLength: 40 }) }),
  );
  fc.assert(fc.property(fc.array(section, { maxLength: 12 }), (sections) => {
    const image = new ImageWriter();
    for (const { type, value } of sections) {
      if (type === "number") image.number(value);
      else if (type === "words") image.words(value);
      else image.bytes(value);
    }
    const bytes = bytesOf(image);
    assert.equal(bytes.byteLength, image.size);
    assert.equal(bytes.byteLength % 8, 0);
    const reader = new ImageReader(bytes);
    for (const { type, value } of sections) {
      if (type === "number") assert.equal(reader.number(), value);
      else if (type === "words") assert.deepEqual([...reader.words(value.length)], [...value]);
      else assert.deepEqual([...reader.bytes(value.byteLength)], [...value]);
    }
    assert.equal(reader.rest, 0);
  }));
});
