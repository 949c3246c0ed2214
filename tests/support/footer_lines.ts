/**
 * What a footer says of each event, in a form that can be sent and compared.
 *
 * @module
 */
import { formatId } from "../../store/ids.ts";
import { decodeFooter } from "../../store/index/segment_footer.ts";

/** One event. */
export interface FooterLine {
  readonly eventId: string;
  readonly entity: string;
  readonly scope: string;
  readonly category: number;
  readonly typeId: number;
  readonly globalSequence: number;
  readonly offset: number;
  readonly size: number;
}

/** A line for each event, in order. Throws when the footer cannot be used. */
export function linesOfFooter(bytes: Uint8Array<ArrayBuffer>): FooterLine[] {
  const decoded = decodeFooter(bytes);
  if (decoded.type === "unusable") throw new Error(decoded.reason);
  const { columns } = decoded;
  const { count, kind, offset } = columns;
  const lines: FooterLine[] = [];
  for (let row = 0; row < count; row++) {
    lines.push({
      eventId: formatId(columns.eventId, row * 16),
      entity: columns.entities.text(columns.chainEntity[columns.chain[row]]),
      scope: columns.scopes.text(columns.scope[row]),
      category: kind[row] >>> 12,
      typeId: kind[row] & 0xfff,
      globalSequence: columns.firstSequence + row,
      offset: offset[row],
      size: (row + 1 < count ? offset[row + 1] : columns.framesEnd) - offset[row],
    });
  }
  return lines;
}
