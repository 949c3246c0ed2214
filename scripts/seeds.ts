/**
 * Seeds: where the chance of a test run began. A test that rolls dice prints its seed as the environment
 * takes it, `BATPAK_SEED=42`, and whoever reads the log can run the same again.
 *
 * @module
 */
const SEED = /\bBATPAK_SEED=\d/;

/** The lines of a run's output that carry a seed, each of them once. */
export function seedLines(output: string): string[] {
  const lines = output.split("\n").map((line) => line.trim());
  return [...new Set(lines.filter((line) => SEED.test(line)))];
}
