/**
 * `deno task sweep`: fails each file call of each operation of a store, in every way it can fail, and says
 * what came of it.
 *
 * ```sh
 * deno task sweep                  # every operation, every flavour, some minutes
 * deno task sweep merge --seed 7   # one of them; the seed draws one crash image of three kinds
 * deno task sweep --flavours 2     # of each call only so many flavours, drawn
 * ```
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { sweep } from "../sim/fault_sweep.ts";
import { SWEPT_OPERATIONS } from "../sim/swept_operations.ts";

function main(args: string[]): void {
  const { values, positionals } = parseArgs({
    args,
    options: { seed: { type: "string" }, flavours: { type: "string" } },
    allowPositionals: true,
  });
  const seed = Number(values.seed ?? Math.floor(performance.timeOrigin) % 0x7fffffff);
  console.log(`seed ${seed}`);
  const startMs = performance.now();
  let runs = 0;
  let violations = 0;
  for (const operation of SWEPT_OPERATIONS) {
    if (positionals.length > 0 && !positionals.includes(operation.name)) continue;
    const report = sweep(operation, {
      seed,
      ...(values.flavours !== undefined && { flavours: Number(values.flavours) }),
      onViolation: ({ message }) => {
        violations++;
        console.log(message);
      },
    });
    runs += report.runs;
    console.log(
      `${report.operation}: ${report.calls} calls, ${report.runs} runs, ${report.fired} faults fired, ` +
        `${report.threw} threw, ${report.poisoned} stopped the writer; ` +
        `${report.images} images, ${report.judged} judged`,
    );
    for (const [why, count] of report.tolerated) console.log(`  ${count} tolerated: ${why}`);
    for (const [why, count] of report.refused) console.log(`  ${count} images refused: ${why}`);
  }
  if (runs === 0) {
    throw new Error(`Cannot sweep: there is no operation ${positionals.join(", ")}`);
  }
  const seconds = (performance.now() - startMs) / 1000;
  console.log(`${runs} runs in ${seconds.toFixed(1)} s, ${violations} violations`);
  if (violations > 0) process.exitCode = 1;
}

main(process.argv.slice(2));
