/** Sleeps, with nothing else to do, and says so. */
import { type SharedWords, sleepWhile } from "../shared_words.ts";

const words: SharedWords = new Int32Array(new SharedArrayBuffer(4));
console.log(await sleepWhile(words, 0, 0, 50) ? "slept" : "woken");
