/**
 * `batpak get`, `query` and `walk`: events as JSON.
 *
 * @module
 */
import { type Command, Option } from "commander";
import type { AncestorBoundary, EventId, ReadOnlyStore, StoredEvent } from "../mod.ts";
import { CommandError, ExitCode } from "./errors.ts";
import { openForReading } from "./journal.ts";
import {
  addFilterOptions,
  addJsonOption,
  eventIdOf,
  type FilterFlags,
  selectionOf,
  sequenceOf,
} from "./options.ts";
import { eventToJson } from "./output.ts";
import type { Session } from "./session.ts";

/** Adds `get` to the program. */
export function addGetCommand(program: Command, session: Session): void {
  const command = program
    .command("get")
    .summary("print one event")
    .description("Prints the event with this id as JSON; with --json on one line.")
    .argument("<dir>", "the journal's directory")
    .argument("<id>", "the event's id", eventIdOf);
  addJsonOption(command).action((dir: string, id: EventId) => {
    using store = openForReading(dir);
    const event = existing(store, id);
    if (session.output.json) session.output.event(event);
    else session.output.text(JSON.stringify(eventToJson(event), null, 2));
  });
}

interface QueryFlags extends FilterFlags {
  readonly after?: number;
  readonly limit?: number;
  readonly reverse?: true;
}

/** Adds `query` to the program. */
export function addQueryCommand(program: Command, session: Session): void {
  const command = program
    .command("query")
    .summary("print the events that match, as NDJSON")
    .description("Prints the events that pass all filters, oldest first, each as one line of JSON.")
    .argument("<dir>", "the journal's directory");
  addFilterOptions(command)
    .option("--after <sequence>", "only events after this place in the journal", sequenceOf)
    .option("--limit <count>", "at most so many", sequenceOf)
    .option("--reverse", "newest first");
  addJsonOption(command).action((dir: string, flags: QueryFlags) => {
    const { region, includes } = selectionOf(flags);
    using store = openForReading(dir);
    const { after, limit = Infinity, reverse } = flags;
    let count = 0;
    if (limit === 0) return;
    for (const event of store.events(region, { after, reverse })) {
      if (!includes(event)) continue;
      session.output.event(event);
      if (++count >= limit) return;
    }
  });
}

interface WalkFlags {
  readonly limit?: number;
  readonly causes?: true;
  readonly effects?: true;
}

/** Adds `walk` to the program. */
export function addWalkCommand(program: Command, session: Session): void {
  const command = program
    .command("walk")
    .summary("print an event and those before it in its entity's history")
    .description(
      "Prints the event and its ancestors, the events before it in its entity's lane, newest first, " +
        "each as one line of JSON, and says on standard error why the walk ended. Each step checks " +
        "the hash that links the two. With --causes or --effects it follows what caused what instead.",
    )
    .argument("<dir>", "the journal's directory")
    .argument("<id>", "the event's id", eventIdOf)
    .option("--limit <count>", "at most so many events", sequenceOf)
    .addOption(
      new Option("--causes", "the event's cause, the cause of that, and so on")
        .conflicts("effects"),
    )
    .option("--effects", "the events that name this one as their cause");
  addJsonOption(command).action((dir: string, id: EventId, flags: WalkFlags) => {
    using store = openForReading(dir);
    if (flags.causes) walkCauses(session, store, id, flags.limit);
    else if (flags.effects) walkEffects(session, store, id, flags.limit);
    else walkAncestors(session, store, id, flags.limit);
  });
}

function walkAncestors(
  session: Session,
  store: ReadOnlyStore,
  id: EventId,
  limit: number | undefined,
): void {
  existing(store, id);
  const { ancestors, boundary } = store.walkAncestors(id, limit);
  for (const event of ancestors) session.output.event(event);
  const { type } = boundary;
  if (type === "MissingParent" || type === "ReadFailure") session.exitCode = ExitCode.DAMAGE;
  session.output.note(`batpak: ${describeBoundary(boundary)}`, {
    boundary: type === "ReadFailure"
      ? { ...boundary, error: boundary.error.message }
      : { ...boundary },
  });
}

function describeBoundary(boundary: AncestorBoundary): string {
  switch (boundary.type) {
    case "NoAnchor":
      return "there is no such event";
    case "LimitReached":
      return "as many as asked for; there are more";
    case "ReachedGenesis":
      return "reached the first event of its lane: the history is complete";
    case "MissingParent":
      return `no event has the hash that ${boundary.child} names as its predecessor's; ` +
        'run "batpak verify"';
    case "ReadFailure":
      return `event ${boundary.eventId} cannot be read: ${boundary.error.message}; ` +
        'run "batpak verify"';
  }
}

function walkCauses(
  session: Session,
  store: ReadOnlyStore,
  id: EventId,
  limit: number | undefined,
): void {
  let last = existing(store, id);
  let count = 0;
  for (const event of store.causes(id, limit)) {
    session.output.event(event);
    last = event;
    count++;
  }
  const { causationId } = last;
  if (causationId === undefined) {
    session.output.note("batpak: reached an event without a cause", {
      boundary: { type: "ReachedRoot", eventId: last.eventId },
    });
  } else if (limit !== undefined && count >= limit) {
    session.output.note("batpak: as many as asked for; there are more", {
      boundary: { type: "LimitReached" },
    });
  } else {
    session.output.note(`batpak: the cause ${causationId} is not in this journal`, {
      boundary: { type: "CauseElsewhere", causationId },
    });
  }
}

function walkEffects(
  session: Session,
  store: ReadOnlyStore,
  id: EventId,
  limit: number | undefined,
): void {
  existing(store, id);
  const effects = store.effects(id);
  for (const event of effects.slice(0, limit)) session.output.event(event);
  session.output.note(
    effects.length === 0
      ? "batpak: no event names it as its cause"
      : limit !== undefined && effects.length > limit
      ? "batpak: as many as asked for; there are more"
      : "batpak: these are all its effects",
    { boundary: { type: effects.length > (limit ?? Infinity) ? "LimitReached" : "Complete" } },
  );
}

function existing(store: ReadOnlyStore, id: EventId): StoredEvent {
  const event = store.get(id);
  if (event !== undefined) return event;
  throw new CommandError("NOT_FOUND", `Cannot find event ${id} in this journal`, {
    facts: { eventId: id },
  });
}
