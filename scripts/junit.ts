/**
 * Test reports in the JUnit format, which both runtimes can write.
 *
 * | Fact                   | Deno                   | Bun                    |
 * | ---------------------- | ---------------------- | ---------------------- |
 * | the file of a test     | `classname`            | `file`                 |
 * | steps inside of a test | a test case each       | part of the test       |
 * | a file that won't load | the run ends, no report | missing in the report |
 *
 * So a report alone never proves that everything ran: {@linkcode TestReport.files} lets the caller
 * see which files are missing.
 *
 * @module
 */

/** What a report says. */
export interface TestReport {
  /** Tests that ran and held. */
  readonly passed: number;
  /** Tests that ran and did not. */
  readonly failed: number;
  /** Tests that were left out on purpose. */
  readonly skipped: number;
  /** The files whose tests are in the report, relative to the folder the run was started in. */
  readonly files: ReadonlySet<string>;
}

/** One test: its attributes, then either nothing or what happened. Quoted values may hold a `>`. */
const TEST_CASE = /<testcase\b((?:[^>"]|"[^"]*")*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g;

/** Reads a report. */
export function parseTestReport(xml: string): TestReport {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  const files = new Set<string>();
  for (const [, attributes, outcome = ""] of xml.matchAll(TEST_CASE)) {
    const file = attribute(attributes, "file") ?? attribute(attributes, "classname");
    if (file !== undefined) files.add(file.replace(/^\.\//, ""));
    if (/<(?:failure|error)\b/.test(outcome)) failed += 1;
    else if (/<skipped\b/.test(outcome)) skipped += 1;
    else passed += 1;
  }
  return { passed, failed, skipped, files };
}

function attribute(attributes: string, name: string): string | undefined {
  return attributes.match(new RegExp(`(?:^|\\s)${name}="([^"]*)"`))?.[1];
}
