/** The worker, as functions that return promises. */
import type { Asks, Kind, Reply } from "./protocol";

export class Client {
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, { done: (answer: unknown) => void; failed: (error: Error) => void }>();
  private next = 0;

  constructor(say: (what: string) => void) {
    this.worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      if ("say" in data) return say(data.say);
      const waiting = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if ("error" in data) waiting?.failed(new Error(data.error));
      else waiting?.done(data.answer);
    };
    this.worker.onerror = (event) => {
      const error = new Error(`The page's worker stopped (${event.message || "it could not be loaded"}); load the page again.`);
      for (const { failed } of this.waiting.values()) failed(error);
      this.waiting.clear();
    };
  }

  ask<K extends Kind>(kind: K, ask: Asks[K]["ask"]): Promise<Asks[K]["answer"]> {
    const id = this.next++;
    return new Promise((done, failed) => {
      this.waiting.set(id, { done: done as (answer: unknown) => void, failed });
      this.worker.postMessage({ id, kind, ...ask });
    });
  }
}
