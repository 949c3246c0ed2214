/** Every copy of a journal, with access to one directory for each side and nothing else. */
import {
  EventKind,
  restoreBackup,
  Store,
  StoreIoError,
  verifyBackup,
  verifyJournal,
} from "../../mod.ts";
import process from "node:process";

const [, , dir, outside] = process.argv;
using store = Store.open(`${dir}/journal`, { segmentMaxBytes: 1_000 });
for (let n = 0; n < 20; n++) store.append({ entity: "e", scope: "s" }, EventKind.DATA, n);
const snapshot = store.snapshot(`${dir}/snapshot`);
const fork = store.fork(`${dir}/deeper/fork`);
store.backup(`${dir}/backup`);
restoreBackup(`${dir}/backup`, `${dir}/restored`);

let outsideCode = "copied";
try {
  store.snapshot(`${outside}/copy`);
} catch (error) {
  outsideCode = error instanceof StoreIoError ? error.fault.code : String(error);
}
const journals = ["snapshot", "deeper/fork", "restored"].map((name) => `${dir}/${name}`);
console.log(JSON.stringify({
  events: snapshot.events,
  shared: fork.strategyCounts.copy === 1,
  intact: journals.map((journal) => verifyJournal(journal).findingCount === 0),
  backup: verifyBackup(`${dir}/backup`).intact,
  outsideCode,
}));
