/** Opens the journal in the directory it is given, says how that went, and stays. */
import process from "node:process";
import { Store, StoreLockedError } from "../../mod.ts";

const dir = process.argv[2];
try {
  const store = Store.open(dir);
  console.log(`open ${store.stats().nextSequence}`);
} catch (error) {
  if (!(error instanceof StoreLockedError)) throw error;
  console.log(`${error.code} ${error.path}`);
}
// Until somebody ends it.
process.stdin.resume();
