import assert from "node:assert/strict";
import { test } from "node:test";
import { parseTestReport } from "./junit.ts";

test("parseTestReport() counts what Deno writes", () => {
  const report = parseTestReport(`<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="3" failures="1" errors="0" time="0.1">
    <testsuite name="./store/frame_test.ts" tests="3" disabled="1" errors="0" failures="1">
        <testcase name="a &gt; b" classname="./store/frame_test.ts" time="0.001" line="3" col="1">
        </testcase>
        <testcase name="fails" classname="./store/frame_test.ts" time="0.002" line="4" col="1">
            <failure message="Uncaught Error: 1 != 2">at frame_test.ts:4:40</failure>
        </testcase>
        <testcase name="left out" classname="./store/frame_test.ts" time="0.000" line="5" col="6">
            <skipped/>
        </testcase>
    </testsuite>
</testsuites>`);
  assert.deepEqual(report, {
    passed: 1,
    failed: 1,
    skipped: 1,
    files: new Set(["store/frame_test.ts"]),
  });
});

test("parseTestReport() counts what Bun writes, nested suites included", () => {
  const report = parseTestReport(`<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="3" assertions="0" failures="1" skipped="1" time="5.5">
  <testsuite name="store/a_test.ts" file="store/a_test.ts" tests="3" failures="1" skipped="1">
    <testcase name="a > b" classname="" time="0.0007" file="store/a_test.ts" line="3" />
    <testcase name="left out" classname="" time="0" file="store/a_test.ts" line="5">
      <skipped />
    </testcase>
    <testsuite name="group" file="store/b_test.ts" line="11" tests="1" failures="1">
      <testcase name="fails" classname="group" time="0.1" file="store/b_test.ts" line="12">
        <failure type="Error" message="boom">Error: boom</failure>
      </testcase>
    </testsuite>
  </testsuite>
</testsuites>`);
  assert.deepEqual(report, {
    passed: 1,
    failed: 1,
    skipped: 1,
    files: new Set(["store/a_test.ts", "store/b_test.ts"]),
  });
});

test("parseTestReport() finds nothing in an empty report", () => {
  assert.deepEqual(parseTestReport(`<testsuites name="deno test" tests="0"></testsuites>`), {
    passed: 0,
    failed: 0,
    skipped: 0,
    files: new Set(),
  });
});
