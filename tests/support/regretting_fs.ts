import { IoFault } from "../../platform/fs.ts";
import { WrappedFs } from "./wrapped_fs.ts";

/** A disk that takes all bytes of a write and then says that it did not, and lets somebody look. */
export class RegrettingFs extends WrappedFs {
  regret = false;
  look: () => void = () => {};

  protected override before(op: string, path: string, partial?: (size: number) => void): void {
    if (!this.regret) return;
    if (op === "resize") this.look();
    if (op !== "writeAt") return;
    partial?.(1 << 20);
    throw new IoFault({ code: "EIO", op, path, message: "planted" });
  }
}
