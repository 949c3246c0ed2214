/** Everything a program does with a journal, to be run with access to one directory and nothing else. */
import {
  EventKind,
  Receipt,
  SigningKey,
  Store,
  StoreIoError,
  verifyJournal,
  verifyReceipt,
} from "../../mod.ts";
import process from "node:process";

const [, , dir, outside] = process.argv;
const key = SigningKey.fromSeed(new Uint8Array(32).fill(5));
const options = { signingKeys: [key], segmentMaxBytes: 3_000 };
const order = { entity: "order:1", scope: "shop" };

const store = Store.open(`${dir}/journal`, options);
const receipt = store.append(order, EventKind.DATA, { n: 0 }, {
  idempotencyKey: "first",
  durability: "durable",
});
store.appendBatch(
  Array.from({ length: 50 }, (_, i) => ({ ...order, kind: EventKind.DATA, payload: { n: i + 1 } })),
);
store.sync();
store.close();

const again = Store.open(`${dir}/journal`, options);
const replayed = again.append(order, EventKind.DATA, null, { idempotencyKey: "first" });
const reader = Store.openReadOnly(`${dir}/journal`, { verifyingKeys: [key.publicKey] });
const payloads = reader.query({ kind: EventKind.DATA }).map(({ payload }) => payload);
const copy = Receipt.fromClaim(JSON.parse(JSON.stringify(receipt)));
const verdicts = [
  again.verifyReceipt(receipt),
  reader.verifyReceipt(copy),
  verifyReceipt(copy, { publicKeys: [key.publicKey] }),
];
const ancestors = again.walkAncestors(again.latest(order.entity)!.eventId).ancestors.length;
again.close();
const report = verifyJournal(`${dir}/journal`);

let outsideCode = "opened";
try {
  Store.open(outside).close();
} catch (error) {
  outsideCode = error instanceof StoreIoError ? error.fault.code : String(error);
}

console.log(JSON.stringify({
  replayed: replayed.globalSequence === receipt.globalSequence,
  payloads,
  verdicts,
  ancestors,
  segments: report.segments,
  findings: report.findings,
  intact: report.intact,
  outsideCode,
}));
