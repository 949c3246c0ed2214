/**
 * How objects with private fields look when somebody prints them.
 *
 * @module
 */

/** Both runtimes ask an object for this before they print it. */
const INSPECT: symbol = Symbol.for("nodejs.util.inspect.custom");

/** Makes instances of a class print as the facts that `describe` gives, under the name of the class. */
export function printAs<T extends object>(
  type: { readonly prototype: T },
  describe: (value: T) => Readonly<Record<string, unknown>>,
): void {
  Object.defineProperty(type.prototype, INSPECT, {
    value(
      this: T,
      _depth: number,
      options: unknown,
      inspect?: (value: unknown, options: unknown) => string,
    ): unknown {
      const facts = describe(this);
      return inspect === undefined ? facts : `${this.constructor.name} ${inspect(facts, options)}`;
    },
  });
}
