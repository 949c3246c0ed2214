import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LineSplitter, LineTooLongError } from "./line_splitter.ts";

test("LineSplitter gives the same lines however the input is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("", "a", "ü", "long line"), { maxLength: 8 }),
      fc.array(fc.nat(5), { minLength: 1 }),
      (lines, sizes) => {
        const bytes = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
        const splitter = new LineSplitter(100);
        const found: string[] = [];
        let start = 0;
        for (let i = 0; start < bytes.byteLength; i++) {
          const end = start + 1 + sizes[i % sizes.length];
          for (const line of splitter.push(bytes.slice(start, end))) {
            found.push(new TextDecoder().decode(line.bytes));
            assert.equal(line.number, found.length);
          }
          start = end;
        }
        assert.deepEqual(found, lines);
        assert.equal(splitter.end(), undefined);
      },
    ),
  );
});

test("LineSplitter counts bytes up to the end of each line", () => {
  const splitter = new LineSplitter(10);
  const ends = [...splitter.push(new TextEncoder().encode("ab\n\ncd"))].map((l) => l.inputEnd);
  assert.deepEqual(ends, [3, 4]);
  assert.deepEqual(splitter.end()?.inputEnd, 6);
});

test("LineSplitter gives up on a line that is too long, and names it", () => {
  const splitter = new LineSplitter(4);
  assert.equal([...splitter.push(new TextEncoder().encode("abcd\nab"))].length, 1);
  assert.throws(() => [...splitter.push(new TextEncoder().encode("cde"))], (error) => {
    assert.ok(error instanceof LineTooLongError);
    assert.equal(error.line, 2);
    return true;
  });
});
