/**
 * The append path, one stage at a time: each runs alone, again and again, with the functions and on the
 * frames that the store uses, and all take turns as in any race.
 *
 * A stage by itself has the caches and the branch predictor to itself, so it looks a little better than
 * it is. The whole path is measured beside them, and what the stages do not explain is shown too.
 *
 * @module
 */
import { crc32 } from "../../platform/checksum.ts";
import { runtime } from "../../platform/runtime.ts";
import { AppendDraft, prepareDraft } from "../../store/append.ts";
import { EventRegistry } from "../../store/event_definition.ts";
import { EventIndex } from "../../store/index/event_index.ts";
import {
  encodeFrame,
  ENTITY_OFFSET,
  entitySizeOf,
  FRAME_HEADER_SIZE,
  FrameDraft,
  payloadOf,
  payloadStartOf,
  scopeSizeOf,
  scopeStartOf,
  sealFrame,
} from "../../store/frame.ts";
import { blake3Into, HASH_SIZE } from "../../store/hash.ts";
import { IdGenerator } from "../../store/ids.ts";
import { encodePayload } from "../../store/payload.ts";
import { Receipt } from "../../store/receipt.ts";
import { Slab } from "../../store/slab.ts";
import { type Contestant, median, race } from "./measure.ts";
import { entityOf, ORDER_PLACED, orderOf, SCOPE } from "./orders.ts";
import { framesOf } from "./raw_file.ts";
import { silentFs } from "./silent_fs.ts";
import type { BenchContext } from "./workloads.ts";
import { JournalWriter } from "./writers.ts";

/** One stage, as a call for event `i` of the prepared ones. */
interface Stage {
  readonly name: string;
  /** Counted in another stage already. */
  readonly inside?: boolean;
  run(i: number): void;
}

/** Frames in hand. Like the buffer of the writer, they fit into a second-level cache. */
const FRAME_COUNT = 2048;

/** Measures the stages and the whole, and returns the table. */
export async function formatStages({ size, scratch }: BenchContext): Promise<string> {
  const eventsPerSlice = Math.ceil(4 * size.events / size.slices);
  const options = { mode: "single", eventsPerSlice } as const;
  const whole = new JournalWriter(scratch.path("journal"), options);
  const unsynced = new JournalWriter(scratch.path("journal"), options, {
    sync: { everyNEvents: 0 },
  });
  const silent = new JournalWriter(scratch.path("journal"), options, {
    fs: silentFs(runtime.fs),
  });
  const file = runtime.fs.open(scratch.path("frames"), "createNew");
  try {
    const stages = makeStages(file);
    const contestants: Contestant[] = [
      { name: WHOLE, slice: () => whole.slice() },
      { name: UNSYNCED, slice: () => unsynced.slice() },
      { name: SILENT, slice: () => silent.slice() },
      ...stages.map((stage) => ({
        name: stage.name,
        slice() {
          for (let n = 0; n < eventsPerSlice; n++) stage.run(n % FRAME_COUNT);
          return eventsPerSlice;
        },
      })),
    ];
    const laps = await race(contestants, {
      slices: size.slices,
      warmUps: 2,
      pause: () => scratch.pause(),
    });
    const nsOf = new Map(contestants.map(({ name }, place) => [
      name,
      median(laps[place].map(({ events, elapsedMs }) => elapsedMs * 1e6 / events)),
    ]));
    return tableOf(stages, (name) => nsOf.get(name)!);
  } finally {
    whole.close();
    unsynced.close();
    silent.close();
    file.close();
  }
}

const WHOLE = "append";
const UNSYNCED = "append without syncs";
const SILENT = "append without writes and syncs";
const WRITE = "write to the file";

function tableOf(stages: readonly Stage[], nsOf: (name: string) => number): string {
  const line = (name: string, ns: number) =>
    `  ${name.padEnd(44)}${Math.round(ns).toLocaleString("en-US").padStart(8)}`;
  const lines = ["Stages of append, each alone, in nanoseconds per event", ""];
  let sum = 0;
  for (const { name, inside } of stages) {
    const ns = nsOf(name);
    if (!inside) sum += ns;
    lines.push(line(inside ? `  of which ${name}` : name, ns));
  }
  lines.push(
    "",
    line("sum of the stages", sum),
    line("not explained by the stages", nsOf(UNSYNCED) - sum),
    "",
    line("sum of the stages without the write", sum - nsOf(WRITE)),
    line(SILENT, nsOf(SILENT)),
    line(UNSYNCED, nsOf(UNSYNCED)),
    line(WHOLE, nsOf(WHOLE)),
  );
  return lines.join("\n");
}

function makeStages(file: ReturnType<typeof runtime.fs.open>): Stage[] {
  const { bytes, starts } = framesOf(FRAME_COUNT);
  const bodies = Array.from({ length: FRAME_COUNT }, (_, i) => starts[i] + FRAME_HEADER_SIZE);
  const views = bodies.map((body, i) => bytes.subarray(body, starts[i + 1]));
  const payloads = views.map((view) => payloadOf(view, 0)!.slice());
  const payloadStarts = views.map((view, i) => bodies[i] + payloadStartOf(view, 0));
  const orders = Array.from({ length: FRAME_COUNT }, (_, n) => orderOf(n));
  const names = views.map((view) => ({
    entity: view.slice(ENTITY_OFFSET, ENTITY_OFFSET + entitySizeOf(view, 0)),
    scope: view.slice(scopeStartOf(view, 0), scopeStartOf(view, 0) + scopeSizeOf(view, 0)),
  }));
  const target = bytes.slice();

  const registry = new EventRegistry();
  const prepared = new AppendDraft();
  const noOptions = Object.freeze({});
  const frame = new FrameDraft();
  const ids = new IdGenerator(runtime.entropy);
  const hash = new Uint8Array(HASH_SIZE);
  const storeId = new Uint8Array(16);
  const copies = new Slab();
  const index = new EventIndex();
  for (let i = 0; i < FRAME_COUNT; i++) index.add(bytes, bodies[i], starts[i], hash);
  const written = { end: 0, size: 0 };

  return [
    {
      name: "build the order and its coordinate",
      run(i) {
        sink.kept = { entity: entityOf(i), scope: SCOPE };
        sink.kept = orderOf(i);
      },
    },
    {
      name: "check, and encode names and payload",
      run(i) {
        const coordinate = { entity: entityOf(i), scope: SCOPE };
        prepareDraft(prepared, registry, coordinate, ORDER_PLACED, orders[i], noOptions);
      },
    },
    { name: "the payload", inside: true, run: (i) => sink.kept = encodePayload(orders[i]) },
    {
      name: "find the entity, its chain and the scope",
      run(i) {
        const { entity, scope } = names[i];
        const chain = index.findChain(index.findEntity(entity, 0, entity.byteLength), 0);
        sink.kept = index.headOf(chain) + index.scopes.find(scope, 0, scope.byteLength);
      },
    },
    {
      name: "time and id",
      run: () => ids.fill(frame.eventId, 0, Math.floor(runtime.clock.nowUs())),
    },
    {
      name: "hash the payload",
      run: (i) => blake3Into(payloads[i], 0, payloads[i].byteLength, hash),
    },
    {
      name: "encode the header",
      run(i) {
        frame.globalSequence = i;
        frame.entity = entityOf(i);
        frame.scope = SCOPE;
        frame.payload = payloads[i];
        sink.kept = encodeFrame(frame, target, starts[i]);
      },
    },
    {
      name: "hash the header",
      run: (i) => blake3Into(bytes, bodies[i], payloadStarts[i], hash),
    },
    {
      name: "copy the payload, checksum",
      run: (i) => sink.kept = sealFrame(target, starts[i], payloadStarts[i], payloads[i]),
    },
    {
      name: "the checksum",
      inside: true,
      run: (i) => sink.kept = crc32(bytes.subarray(bodies[i], starts[i + 1])),
    },
    {
      name: WRITE,
      run(i) {
        const size = starts[i + 1] - starts[i];
        if (written.end + size > written.size) file.resize(written.size += EXTEND_SIZE);
        file.writeAt(bytes, starts[i], size, written.end);
        written.end += size;
      },
    },
    {
      name: "add to the index",
      run: (i) => sink.kept = index.add(bytes, bodies[i], starts[i], hash),
    },
    {
      name: "make the receipt",
      run(i) {
        const header = copies.copy(bytes, bodies[i], payloadStarts[i]);
        const frameSize = starts[i + 1] - starts[i];
        sink.kept = new Receipt(storeId, header, undefined, 1, starts[i], frameSize, undefined);
      },
    },
  ];
}

/** As the writer does it. */
const EXTEND_SIZE = 4 << 20;

/** Results go here, so that no compiler finds a stage superfluous. */
const sink: { kept: unknown } = { kept: undefined };
