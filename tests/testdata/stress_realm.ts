/** The realm of a consumer of the stress test. It throws, hangs, spins and dies, until it is to be calm. */
import process from "node:process";
import { serveCursorWorker } from "../../delivery/worker.ts";
import { seededRandom } from "../support_api/journal.ts";
import {
  type HandlerOrder,
  isToBeCalm,
  nextRealm,
  noteBatch,
  sleep,
} from "../support_api/stress_consumer.ts";
import { type ConsumerNote, Notes } from "../support_api/stress_notes.ts";

let notes: Notes<ConsumerNote>;
let random: () => number;
let realm: string;

serveCursorWorker<HandlerOrder>(async (batch, { init, signal }) => {
  const fault = noteBatch(notes, realm, batch);
  if (fault !== undefined) notes.write({ t: "broken", what: fault });
  if (isToBeCalm(init) || signal.aborted) return "continue";
  const dice = random();
  if (dice < 0.02) throw new RangeError("the handler's own words");
  if (dice < 0.04) return dice < 0.03 ? "stop" : "stopWithRollback";
  if (dice < 0.045) return await new Promise(() => {});
  if (dice < 0.05) { for (;;); }
  if (dice < 0.055) process.exit(3);
  if (dice < 0.06) {
    queueMicrotask(() => {
      throw new Error("outside of the handler");
    });
    return await new Promise(() => {});
  }
  if (dice < 0.4) await sleep(random() * 10);
  return "continue";
}, {
  setup({ init }) {
    const number = nextRealm(init);
    notes = new Notes(init.path);
    random = seededRandom(init.seed + number * 7919);
    realm = String(number);
  },
});
