/**
 * `batpak append`: one event, and the proof of it.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { ClockConflictError, type EventId, EventKind, type Receipt } from "../mod.ts";
import { CommandError, usageError } from "./errors.ts";
import { type Host, OutputClosedError } from "./host.ts";
import { isJournal, openForWriting } from "./journal.ts";
import { LossyNumberError, parseJson } from "./json_text.ts";
import {
  addJsonOption,
  appendableKindOf,
  collectTag,
  entityOf,
  eventIdOf,
  scopeOf,
  U32_MAX,
  wholeNumber,
} from "./options.ts";
import { payloadFromJson } from "./payload_json.ts";
import type { Output } from "./output.ts";
import type { Session } from "./session.ts";

interface AppendFlags {
  readonly entity: string;
  readonly scope: string;
  readonly kind: EventKind;
  readonly key?: string;
  readonly expect?: "none" | number;
  readonly tag?: readonly string[];
  readonly durable?: true;
  readonly lane?: number;
  readonly causation?: EventId;
  readonly correlation?: EventId;
}

/** The most bytes read for one payload; its MessagePack form has the same limit. */
const INPUT_BYTES_MAX = 64 << 20;

/** Adds the command to the program. */
export function addAppendCommand(program: Command, session: Session): void {
  const command = program
    .command("append")
    .summary("append one event and print its receipt")
    .description(
      "Appends one event and prints its id, its place in the journal and its clock; with --json the " +
        "whole receipt. Begins a journal when DIR holds none.",
    )
    .argument("<dir>", "the journal's directory")
    .argument("[payload]", "the payload as JSON; - or nothing reads it from standard input")
    .requiredOption("--entity <entity>", "whose event it is, such as order:1001", entityOf)
    .requiredOption("--scope <scope>", "the boundary the entity lives in, such as shop", scopeOf)
    .option(
      "--kind <kind>",
      'what it says, as "F:001" or "0xF001"',
      appendableKindOf,
      EventKind.DATA,
    )
    .option("--key <key>", "an idempotency key: a second append under it changes nothing")
    .option(
      "--expect <clock>",
      'append only when the entity is at this clock, or has no event: "none"',
      expectedClockOf,
    )
    .option("--tag <tag>", "a tag to find it by; may be given up to 32 times", collectTag)
    .option("--lane <number>", "a branch of the entity's history", wholeNumber(0, U32_MAX))
    .option("--causation <id>", "the event it follows from", eventIdOf)
    .option("--correlation <id>", "the event that began the story", eventIdOf)
    .option("--durable", "print the receipt only when the event survives a power cut");
  // The default is a number, and people write kinds in another way.
  command.options.find(({ long }) => long === "--kind")!.defaultValueDescription = '"1:000"';
  addJsonOption(command).action(
    (dir: string, payload: string | undefined, flags: AppendFlags) =>
      runAppend(session, dir, payload, flags),
  );
}

async function runAppend(
  { host, output }: Session,
  dir: string,
  text: string | undefined,
  flags: AppendFlags,
): Promise<void> {
  const payload = parsePayload(await payloadText(host, text));
  const { entity, scope, kind, key, expect, tag, durable, lane, causation, correlation } = flags;
  // The condition cannot hold where there is nothing, and a failure must not begin a journal.
  if (typeof expect === "number" && !isJournal(dir)) {
    throw new ClockConflictError({ entity, lane: lane ?? 0, expected: expect, actual: "none" });
  }
  using store = openForWriting(dir, output);
  const receipt = store.append({ entity, scope }, kind, payload, {
    idempotencyKey: key,
    expectedClock: expect,
    tags: tag,
    lane,
    causationId: causation,
    correlationId: correlation,
    durability: durable ? "durable" : "written",
  });
  print(output, receipt);
}

/** Prints at once: closing may fail, and what has happened has happened. */
function print(output: Output, receipt: Receipt): void {
  const { eventId, globalSequence, replayed } = receipt;
  try {
    if (output.json) output.record({ ...receipt.toJSON(), replayed });
    else output.text(describe(receipt));
    output.flush();
  } catch (error) {
    if (error instanceof OutputClosedError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    const known = replayed ? "known already," : "appended";
    throw new CommandError(
      "OUTPUT",
      `Cannot print the receipt: ${reason}. The event was ${known} at sequence ${globalSequence}`,
      { facts: { eventId, globalSequence, replayed }, cause: error },
    );
  }
}

function describe({ eventId, globalSequence, clock, replayed }: Receipt): string {
  return `${eventId} sequence ${globalSequence} clock ${clock}${
    replayed ? " (known already)" : ""
  }`;
}

async function payloadText(host: Host, argument: string | undefined): Promise<string> {
  if (argument !== undefined && argument !== "-") return argument;
  if (argument === undefined && host.isInputTerminal) {
    throw usageError("Cannot append without a payload: give it as JSON, or - to type it");
  }
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let text = "";
  let size = 0;
  try {
    for await (const chunk of host.openInput("-").chunks()) {
      size += chunk.byteLength;
      if (size > INPUT_BYTES_MAX) {
        throw usageError(`Cannot append a payload of more than ${INPUT_BYTES_MAX} bytes`);
      }
      text += decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  } catch (error) {
    if (error instanceof TypeError) throw usageError("Cannot read the payload: it is not UTF-8");
    throw error;
  }
}

function parsePayload(text: string): unknown {
  try {
    return payloadFromJson(parseJson(text));
  } catch (error) {
    if (error instanceof LossyNumberError) {
      throw usageError(`Cannot keep the payload as it is: ${error.message}`);
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw usageError(
      `Cannot read the payload as JSON: ${reason}; in a shell, quote it: '{"total": 12}'`,
    );
  }
}

function expectedClockOf(text: string): "none" | number {
  if (text === "none") return "none";
  try {
    return wholeNumber(0, U32_MAX)(text);
  } catch {
    throw new InvalidArgumentError(
      'Give the clock of the entity\'s newest event, or "none" when it must have no event.',
    );
  }
}
