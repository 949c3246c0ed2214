/**
 * What a reader answers, in a form that can be compared: whichever way it was opened, the answers have to
 * be the same.
 *
 * @module
 */
import type { JournalReader } from "../../store/journal_reader.ts";
import type { StoredEvent } from "../../store/stored_event.ts";

/** Answers to one question of each sort about everything that is there. */
export function answersOf(reader: JournalReader): Record<string, unknown> {
  const { eventCount, nextSequence, entityCount, segmentCount, logBytes } = reader.stats();
  const events: StoredEvent[] = [];
  for (let sequence = 0; sequence < eventCount; sequence++) {
    const event = reader.at(sequence);
    if (event === undefined) throw new Error(`there is no event ${sequence}`);
    events.push(event);
  }
  const entities = [...new Set(events.map(({ entity }) => entity))];
  const lanes = [...new Set(events.map(({ lane }) => lane))];
  const scopes = [...new Set(events.map(({ scope }) => scope))];
  const kinds = [...new Set(events.map(({ kind }) => kind))];
  const tags = [...new Set(events.flatMap(({ tags }) => tags))];
  const prefixes = [...new Set(entities.flatMap((entity) => entity.split(":")[0]))];
  return {
    storeId: reader.storeId,
    stats: { eventCount, nextSequence, entityCount, segmentCount, logBytes },
    events: events.map((event) => ({ ...event.toJSON(), position: event.position })),
    all: idsOf(reader.query()),
    byId: events.map(({ eventId }) => reader.get(eventId)?.globalSequence),
    causes: events.map(({ eventId }) => idsOf(reader.causes(eventId))),
    effects: events.map(({ eventId }) => idsOf(reader.effects(eventId))),
    ancestors: events.map(({ eventId }) => {
      const { ancestors, boundary } = reader.walkAncestors(eventId);
      return [boundary.type, ...idsOf(ancestors)];
    }),
    latest: entities.map((entity) => lanes.map((lane) => reader.latest(entity, lane)?.eventId)),
    byEntity: entities.map((entity) => [
      idsOf(reader.byEntity(entity)),
      idsOf(reader.byEntity(entity, { reverse: true, limit: 2 })),
    ]),
    below: prefixes.map((entity) => idsOf(reader.query({ entity }))),
    scopes: scopes.map((scope) => idsOf(reader.query({ scope }))),
    kinds: kinds.map((kind) => idsOf(reader.events({ kind }, { reverse: true }))),
    tags: tags.map((tag) => idsOf(reader.query({ tags: [tag] }))),
    lanes: lanes.map((lane) => idsOf(reader.query({ lane }))),
  };
}

function idsOf(events: Iterable<StoredEvent>): string[] {
  return Array.from(events, ({ eventId }) => eventId);
}
