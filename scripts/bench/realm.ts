/**
 * Other realms that take part in the benchmark.
 *
 * @module
 */

/** A Web Worker from a file in `realms/`. */
export class Realm {
  readonly worker: Worker;

  private constructor(worker: Worker) {
    this.worker = worker;
  }

  /** Starts one, and waits until it says something. */
  static async start(file: string): Promise<Realm> {
    const url = new URL(`./realms/${file}.ts`, import.meta.url);
    const realm = new Realm(new Worker(url, { type: "module" }));
    await realm.next();
    return realm;
  }

  /** The next message, or the next one that has a field. */
  next<Message>(field?: keyof Message): Promise<Message> {
    const { worker } = this;
    return new Promise((resolve, reject) => {
      const receive = ({ data }: MessageEvent) => {
        if (field !== undefined && (data as Message | undefined)?.[field] === undefined) return;
        done();
        resolve(data as Message);
      };
      const fail = (event: ErrorEvent) => {
        event.preventDefault();
        done();
        reject(new Error(`A realm of the benchmark failed: ${event.message}`));
      };
      const done = () => {
        worker.removeEventListener("message", receive);
        worker.removeEventListener("error", fail);
      };
      worker.addEventListener("message", receive);
      worker.addEventListener("error", fail);
    });
  }

  /** Ends it. */
  end(): void {
    this.worker.terminate();
  }
}
