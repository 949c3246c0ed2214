// The worker of a single executable: it has the store whose directory the environment names.
import { Store } from "../../../mod.ts";
import { serveStore } from "../../../delivery/worker.ts";
import process from "node:process";

serveStore(() => Store.open(process.env.JOURNAL_DIR!));
