/**
 * Two rules, no common entity: the course subscriptions of https://dcb.events.
 *
 * A course takes so many students, and a student takes so many courses. A subscription is about both,
 * so no single entity can guard it: the clock of the course would not notice the student's fourth
 * course, and the clock of the student not the course's last seat.
 *
 * With tags, one event can belong to both, and one condition can guard both rules. The recipe is always
 * the same:
 *
 * 1. **Read** the events the decision depends on, and remember how far you have read.
 * 2. **Decide** from them, and from nothing else.
 * 3. **Append** under the condition that no event has been added to what you have read.
 * 4. If there was one, somebody was faster: begin again at 1.
 *
 * This file is a test, and meant to be read as an example too.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ConditionConflictError,
  defineEvent,
  MemoryFs,
  type Receipt,
  Store,
  type StoredEvent,
} from "../mod.ts";

// The facts. Tags say what each is about: `course:c1`, `student:s1`, or both.

const courseOpened = defineEvent<{ capacity: number }>({ name: "course.opened", kind: "1:001" });
const capacityChanged = defineEvent<{ capacity: number }>({
  name: "course.capacity-changed",
  kind: "1:002",
});
const subscribed = defineEvent<{ course: string; student: string }>({
  name: "student.subscribed",
  kind: "1:003",
});
const unsubscribed = defineEvent<{ course: string; student: string }>({
  name: "student.unsubscribed",
  kind: "1:004",
});

const COURSES_PER_STUDENT_MAX = 3;
const ATTEMPTS_MAX = 5;

/** A rule says no. Nothing was appended, and trying again would change nothing. */
class RuleError extends Error {
  override readonly name = "RuleError";
}

class Enrolment {
  readonly #store: Store;
  /** Called between the decision and the append: the moment in which others can be faster. */
  readonly #onDecided: () => void;

  constructor(store: Store, onDecided: () => void = () => {}) {
    this.#store = store;
    this.#onDecided = onDecided;
  }

  open(course: string, capacity: number): Receipt {
    return this.#store.append(courseAt(course), courseOpened, { capacity }, {
      tags: [courseTag(course)],
      // A course is opened once. No event of it may exist, whoever appended it.
      failIf: { region: { kind: courseOpened.kind }, tags: [courseTag(course)] },
    });
  }

  changeCapacity(course: string, capacity: number): Receipt {
    const tags = [courseTag(course)];
    return this.#store.append(courseAt(course), capacityChanged, { capacity }, { tags });
  }

  unsubscribe(course: string, student: string): Receipt {
    return this.#store.append(courseAt(course), unsubscribed, { course, student }, {
      tags: [courseTag(course), studentTag(student)],
    });
  }

  /** Subscribes, or throws a {@linkcode RuleError}. */
  subscribe(course: string, student: string): Receipt {
    for (let attempt = 1;; attempt++) {
      // 1. Read. Sequences only grow, so one number says how far.
      const after = this.#store.stats().nextSequence - 1;
      const ofCourse = this.#store.query({ tags: [courseTag(course)] });
      const ofStudent = this.#store.query({ tags: [studentTag(student)] });
      // 2. Decide.
      refuseUnlessAllowed(course, student, ofCourse, ofStudent);
      this.#onDecided();
      try {
        // 3. Append. Anything new about the course or about the student, and the decision is stale.
        return this.#store.append(courseAt(course), subscribed, { course, student }, {
          tags: [courseTag(course), studentTag(student)],
          failIf: [
            { tags: [courseTag(course)], after },
            { tags: [studentTag(student)], after },
          ],
        });
      } catch (error) {
        // 4. Begin again.
        if (!(error instanceof ConditionConflictError) || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  }
}

function refuseUnlessAllowed(
  course: string,
  student: string,
  ofCourse: readonly StoredEvent[],
  ofStudent: readonly StoredEvent[],
): void {
  let capacity: number | undefined;
  const students = new Set<string>();
  for (const event of ofCourse) {
    if (event.is(courseOpened)) capacity = event.decode(courseOpened).capacity;
    if (event.is(capacityChanged)) capacity = event.decode(capacityChanged).capacity;
    if (event.is(subscribed)) students.add(event.decode(subscribed).student);
    if (event.is(unsubscribed)) students.delete(event.decode(unsubscribed).student);
  }
  const courses = new Set<string>();
  for (const event of ofStudent) {
    if (event.is(subscribed)) courses.add(event.decode(subscribed).course);
    if (event.is(unsubscribed)) courses.delete(event.decode(unsubscribed).course);
  }
  if (capacity === undefined) throw new RuleError(`there is no course ${course}`);
  if (students.has(student)) throw new RuleError(`${student} is in ${course} already`);
  if (students.size >= capacity) throw new RuleError(`${course} is full`);
  if (courses.size >= COURSES_PER_STUDENT_MAX) {
    throw new RuleError(`${student} is in ${COURSES_PER_STUDENT_MAX} courses already`);
  }
}

function courseAt(course: string): { entity: string; scope: string } {
  return { entity: `course:${course}`, scope: "enrolment" };
}
function courseTag(course: string): string {
  return `course:${course}`;
}
function studentTag(student: string): string {
  return `student:${student}`;
}

/** The students of a course, as the journal has them. */
function studentsOf(store: Store, course: string): string[] {
  const students = new Set<string>();
  for (const event of store.events({ tags: [courseTag(course)] })) {
    if (event.is(subscribed)) students.add(event.decode(subscribed).student);
    if (event.is(unsubscribed)) students.delete(event.decode(unsubscribed).student);
  }
  return [...students];
}

test("a course takes as many students as it has seats", () => {
  using store = Store.open("school", { fs: new MemoryFs() });
  const enrolment = new Enrolment(store);
  enrolment.open("c1", 2);
  enrolment.subscribe("c1", "s1");
  enrolment.subscribe("c1", "s2");
  assert.throws(() => enrolment.subscribe("c1", "s3"), {
    name: "RuleError",
    message: "c1 is full",
  });
  enrolment.changeCapacity("c1", 3);
  enrolment.subscribe("c1", "s3");
  enrolment.unsubscribe("c1", "s1");
  enrolment.subscribe("c1", "s4");
  assert.deepEqual(studentsOf(store, "c1"), ["s2", "s3", "s4"]);
});

test("a student takes at most three courses, and each of them once", () => {
  using store = Store.open("school", { fs: new MemoryFs() });
  const enrolment = new Enrolment(store);
  for (const course of ["c1", "c2", "c3", "c4"]) enrolment.open(course, 10);
  for (const course of ["c1", "c2", "c3"]) enrolment.subscribe(course, "s1");
  assert.throws(() => enrolment.subscribe("c4", "s1"), { message: "s1 is in 3 courses already" });
  assert.throws(() => enrolment.subscribe("c1", "s1"), { message: "s1 is in c1 already" });
  assert.throws(() => enrolment.subscribe("c9", "s1"), { message: "there is no course c9" });
  enrolment.unsubscribe("c2", "s1");
  enrolment.subscribe("c4", "s1");
});

test("a course is opened once, whoever is first", () => {
  using store = Store.open("school", { fs: new MemoryFs() });
  const enrolment = new Enrolment(store);
  const first = enrolment.open("c1", 2);
  assert.throws(() => enrolment.open("c1", 99), {
    code: "CONDITION_CONFLICT",
    conflicts: [{ globalSequence: first.globalSequence, eventId: first.eventId }],
  });
});

test("of two who want the last seat at the same moment, one gets it", () => {
  using store = Store.open("school", { fs: new MemoryFs() });
  const fast = new Enrolment(store);
  fast.open("c1", 1);
  // The slow one has decided, and is about to append, when the fast one does.
  let decisions = 0;
  const slow = new Enrolment(store, () => {
    if (++decisions === 1) fast.subscribe("c1", "fast");
  });
  assert.throws(() => slow.subscribe("c1", "slow"), { message: "c1 is full" });
  // It has decided only once in its favour: the second look saw that the course was full.
  assert.equal(decisions, 1);
  assert.deepEqual(studentsOf(store, "c1"), ["fast"]);
});

test("of two subscriptions that would be a student's third and fourth, one gets through", () => {
  using store = Store.open("school", { fs: new MemoryFs() });
  const here = new Enrolment(store);
  for (const course of ["c1", "c2", "c3", "c4"]) here.open(course, 10);
  here.subscribe("c1", "s1");
  here.subscribe("c2", "s1");
  // On two devices at once, for two courses that have nothing in common but the student.
  let decisions = 0;
  const elsewhere = new Enrolment(store, () => {
    if (++decisions === 1) here.subscribe("c3", "s1");
  });
  assert.throws(() => elsewhere.subscribe("c4", "s1"), { message: "s1 is in 3 courses already" });
  assert.deepEqual(studentsOf(store, "c4"), []);
});

test("what happens to others disturbs nobody", () => {
  using store = Store.open("school", { fs: new MemoryFs() });
  const others = new Enrolment(store);
  others.open("c1", 5);
  others.open("c2", 5);
  let decisions = 0;
  const here = new Enrolment(store, () => {
    decisions++;
    others.subscribe("c2", `s${decisions + 1}`);
  });
  here.subscribe("c1", "s1");
  assert.equal(decisions, 1, "no second attempt was needed");
});

test("who is always overtaken gives up with the conflict in hand", () => {
  using store = Store.open("school", { fs: new MemoryFs() });
  const others = new Enrolment(store);
  others.open("c1", 100);
  let rival = 0;
  const unlucky = new Enrolment(store, () => others.subscribe("c1", `rival:${rival++}`));
  assert.throws(() => unlucky.subscribe("c1", "s1"), ConditionConflictError);
  assert.equal(rival, ATTEMPTS_MAX);
  assert.ok(!studentsOf(store, "c1").includes("s1"));
});

test("the rules hold whatever a crowd tries, also after a restart", () => {
  const fs = new MemoryFs();
  const courses = ["c1", "c2", "c3", "c4", "c5"];
  const students = Array.from({ length: 12 }, (_, i) => `s${i}`);
  for (let round = 0; round < 3; round++) {
    using store = Store.open("school", { fs });
    const enrolment = new Enrolment(store);
    if (round === 0) { for (const course of courses) enrolment.open(course, 4); }
    for (const student of students) {
      for (const course of courses) {
        try {
          enrolment.subscribe(course, student);
        } catch (error) {
          assert.ok(error instanceof RuleError, String(error));
        }
      }
    }
    for (const course of courses) assert.equal(studentsOf(store, course).length, 4);
    for (const student of students) {
      const taken = store.query({ kind: subscribed.kind, tags: [studentTag(student)] });
      assert.ok(taken.length <= COURSES_PER_STUDENT_MAX);
    }
    assert.equal(store.query({ kind: subscribed.kind }).length, 20);
  }
});
