/**
 * The realm of the store in the stress test: serves it, compacts it in small steps, and has two consumers,
 * one of them with a realm of its own.
 */
import { FenceActiveError, SigningKey, Store, type StoreOptions } from "../../mod.ts";
import { serveStore } from "../../delivery/worker.ts";
import { seededRandom } from "../support_api/journal.ts";
import { sleep, StressConsumer } from "../support_api/stress_consumer.ts";
import { FADING } from "../support_api/stress_load.ts";
import { Notes, type OwnerNote } from "../support_api/stress_notes.ts";

/** What the realm is told at first. */
export interface StoreOrder {
  readonly dir: string;
  readonly notesDir: string;
  /** Names this life of it. */
  readonly life: string;
  readonly seed: number;
}

const scope = globalThis as unknown as {
  addEventListener(type: string, listener: (event: MessageEvent) => void): void;
  postMessage(message: unknown): void;
};

let stop = (): Promise<void> => Promise.resolve();
let isServing = false;
scope.addEventListener("message", ({ data }) => {
  // Clients knock meanwhile.
  if (data.order !== undefined && !isServing) serve(data.order);
  if (data.stop === true) void stop().then(() => scope.postMessage({ stopped: true }));
});
scope.postMessage("ready");

function serve({ dir, notesDir, life, seed }: StoreOrder): void {
  isServing = true;
  const random = seededRandom(seed);
  const oneOf = <T>(...choices: readonly T[]): T => choices[Math.floor(random() * choices.length)];
  const notes = new Notes<OwnerNote>(`${notesDir}/owner.${life}`);
  const onBroken = (what: string) => scope.postMessage({ broken: what });
  const options: StoreOptions = {
    segmentMaxBytes: oneOf(8_000, 20_000, 60_000),
    sync: { everyNEvents: oneOf(0, 1, 10, 100, 1_000) },
    coldStart: { saveEveryNEvents: oneOf(0, 100, 1_000) },
    signingKeys: [SigningKey.fromSeed(new Uint8Array(32).fill(7))],
  };
  const serving = { commitCountMax: oneOf(1, 4, 256) };
  const host = serveStore(() => Store.open(dir, options), serving);
  // Whoever connects is told why.
  if (host === undefined) return;
  const { store } = host;
  const { repairs, oddities, elapsedUs } = store.openReport;
  notes.write({ t: "opened", repairs: repairs.length, oddities, elapsedUs });

  const consumers = [
    new StressConsumer(store, {
      name: "owner-function",
      path: `${notesDir}/owner-function.${life}`,
      seed: seed + 1,
      onBroken,
    }),
    new StressConsumer(store, {
      name: "owner-realm",
      path: `${notesDir}/owner-realm.${life}`,
      seed: seed + 2,
      startRealm: () =>
        new Worker(new URL("./stress_realm.ts", import.meta.url), { type: "module" }),
      onBroken,
    }),
  ];
  let isStopping = false;
  const compacted = (async () => {
    while (!isStopping) {
      await sleep(random() * 300);
      if (isStopping) break;
      try {
        // Throws when watermarks contradict each other.
        store.frontier();
        const compaction = store.compaction({
          strategy: random() < 0.7
            ? { type: "merge" }
            : { type: "tombstone", keep: ({ kind }) => kind !== FADING },
          seal: random() < 0.3,
          mergedSegmentMaxBytes: oneOf(100_000, 1_000_000),
          stepMaxBytes: oneOf(4_096, 65_536),
        });
        while (!isStopping && compaction.step()) if (random() < 0.5) await sleep(random() * 4);
        if (isStopping) compaction.abandon();
        const { report } = compaction;
        if (report === undefined) continue;
        const { outcome, transactions: merges, eventsErased } = report;
        notes.write({ t: "compacted", outcome, merges, erased: eventsErased });
        if (outcome === "failed") throw new Error(JSON.stringify(report));
      } catch (error) {
        const { stack, code } = error as Error & { code?: string };
        if (error instanceof FenceActiveError) notes.write({ t: "refused", code: `${code}` });
        else {
          notes.write({ t: "broken", what: `${stack}` });
          onBroken(`compaction: ${stack}`);
          return;
        }
      }
    }
  })();
  stop = async () => {
    isStopping = true;
    await Promise.all([compacted, ...consumers.map((consumer) => consumer.stop())]);
  };
}
