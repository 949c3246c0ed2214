/** The realm of a cursor worker that says what its context holds, and makes a proof of its own. */
import { AtLeastOnce, ObservationKey, ObservedOnce, serveCursorWorker } from "../../worker.ts";

const scope = globalThis as unknown as Worker;

serveCursorWorker<{ readonly key: number; readonly forged: unknown }>((batch, context) => {
  const { witness, init } = context;
  const observed = witness === undefined
    ? undefined
    : new ObservedOnce(witness, ObservationKey.fromBytes(new Uint8Array(32).fill(init.key)));
  const parts = observed?.intoParts();
  scope.postMessage({
    observed: {
      checkpointId: parts?.atLeastOnce.checkpointId,
      key: parts && [...parts.key.asBytes()],
      isForgedAccepted: AtLeastOnce.is(init.forged),
      count: batch.length,
      gaps: context.takeGaps(),
      gapsLeft: context.takeGaps(),
    },
  });
  return "continue";
});
