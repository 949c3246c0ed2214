/** Regions as the specification words them, one filter after the other, to judge the real ones by. */
import type { RegionFilters } from "../../store/region.ts";

/** What a region looks at. */
export interface RegionSubject {
  readonly entity: string;
  readonly scope: string;
  readonly kind: number;
  readonly clock: number;
  readonly lane: number;
  readonly tags: readonly string[];
}

/** Whether an event is in a region. */
export function isInRegion(region: RegionFilters, event: RegionSubject): boolean {
  const { entity, scope, kind, category, lane, clock, tags = [] } = region;
  return (entity === undefined || event.entity === entity ||
    event.entity.startsWith(entity + ":")) &&
    (scope === undefined || event.scope === scope) &&
    (kind === undefined || kind === "any" || event.kind === kind) &&
    (category === undefined || Math.floor(event.kind / 0x1000) === category) &&
    (lane === undefined || event.lane === lane) &&
    (clock === undefined || (event.clock >= clock[0] && event.clock <= clock[1])) &&
    tags.every((tag) => event.tags.includes(tag));
}
