import assert from "node:assert/strict";
import { test } from "node:test";
import { drawChart } from "./chart.ts";
import { BUN_RUN, DENO_RUN } from "./testdata/sample_runs.ts";

/** Reads XML strictly: tags that match, quoted attributes, known entities. Returns the elements. */
function parseXml(
  text: string,
): { name: string; attributes: Map<string, string>; words: string }[] {
  const elements: { name: string; attributes: Map<string, string>; words: string }[] = [];
  const open: (typeof elements[number])[] = [];
  const token = /<(\/?)([a-z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>|([^<]+)/gy;
  let roots = 0;
  while (token.lastIndex < text.length) {
    const at = token.lastIndex;
    const match = token.exec(text);
    assert.ok(match, `not XML: ${text.slice(at, at + 80)}`);
    const [, closing, name, attributes, single, words] = match;
    if (words !== undefined) {
      assert.doesNotMatch(words, /&(?!(?:amp|lt|gt|quot);)/);
      if (open.length > 0) open[open.length - 1].words += words;
      else assert.equal(words.trim(), "");
    } else if (closing) {
      assert.equal(open.pop()?.name, name);
    } else {
      const pairs = [...attributes.matchAll(/([\w:-]+)="([^"]*)"/g)];
      const element = { name, attributes: new Map(pairs.map(([, k, v]) => [k, v])), words: "" };
      assert.equal(element.attributes.size, pairs.length, "no attribute twice");
      elements.push(element);
      if (open.length === 0) roots++;
      if (!single) open.push(element);
    }
  }
  assert.deepEqual(open, []);
  assert.equal(roots, 1);
  return elements;
}

const elements = parseXml(drawChart([DENO_RUN, BUN_RUN]));
const bars = elements.filter(({ name, attributes }) =>
  name === "rect" && attributes.get("height") === "13"
).map(({ attributes }) => ({
  runtime: attributes.get("class"),
  x: Number(attributes.get("x")),
  width: Number(attributes.get("width")),
}));

test("drawChart() draws a bar for every row with a peer, from the line where both are even", () => {
  // The axis runs from a tenth to ten, so even is in the middle of 190 to 590.
  assert.deepEqual(bars.map(({ runtime }) => runtime), ["deno", "bun", "deno", "deno"]);
  const [append, appendBun, durable, verify] = bars;
  for (const { x } of bars) assert.equal(x, 390);
  assert.equal(append.width, 180.6); // log10(8) of 200
  assert.equal(appendBun.width, 139.8);
  assert.equal(durable.width, 95.4);
  assert.equal(verify.width, 29.2);
});

test("drawChart() lets a bar that goes on beyond a tenth end in a point at the edge", () => {
  const points = elements.filter(({ name }) => name === "path");
  assert.equal(points.length, 1);
  assert.equal(points[0].attributes.get("class"), "deno");
  assert.match(points[0].attributes.get("d")!, /^M190 [\d.]+ L196\.5 [\d.]+ H390 V/);
});

test("drawChart() says every figure with its ratio and the peer it is against", () => {
  const words = elements.filter(({ name }) => name === "text").map(({ words }) => words);
  for (
    const expected of [
      "one event, written",
      "200,000/s, 8.0 × node:sqlite",
      "250,000/s, 5.0 × node:sqlite",
      "400 ms, 0.001 × node:sqlite",
      "Deno 2.0.0",
      "Bun 1.0.0",
      "0.1 ×",
      "10 ×",
    ]
  ) assert.ok(words.includes(expected), `${expected} in ${words.join("; ")}`);
});

test("drawChart() keeps everything inside, and has colours for light and for dark", () => {
  const [svg] = elements;
  const [, , width, height] = svg.attributes.get("viewBox")!.split(" ").map(Number);
  for (const { attributes } of elements) {
    for (const name of ["x", "x1", "x2"]) {
      const x = Number(attributes.get(name) ?? 0);
      assert.ok(x >= 0 && x <= width, `${name}=${x}`);
    }
    for (const name of ["y", "y1", "y2"]) {
      const y = Number(attributes.get(name) ?? 0);
      assert.ok(y >= 0 && y <= height, `${name}=${y}`);
    }
  }
  const style = elements.find(({ name }) => name === "style")!.words;
  assert.match(style, /prefers-color-scheme: dark/);
});

test("drawChart() has nothing to say when there is nobody to compare with", () => {
  assert.throws(() => drawChart([{ ...BUN_RUN, rows: [] }]), /nothing to compare/);
});
