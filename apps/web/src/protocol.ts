/** What the page asks of the worker, and what comes back. */
import type { Controls } from "./controls";
import type { Tried } from "./engine";
import type { Report } from "./latency";

export interface Asks {
  start: { ask: { name: string; wanted: string | null }; answer: Started };
  open: { ask: { file: Blob; name: string }; answer: Opened };
  preview: { ask: { controls: Controls }; answer: ImageData };
  save: { ask: { controls: Controls }; answer: Blob };
  measure: { ask: { runs: number }; answer: Report };
}

export interface Started {
  names: string[];
  tried: Tried[];
  /** Whether a backend passed; the last of `tried` is then the one that runs. */
  ready: boolean;
  /** Where the change is applied. */
  applier: string;
}

export interface Opened {
  width: number;
  height: number;
  before: ImageData;
}

export type Kind = keyof Asks;
export type Ask = { [K in Kind]: { id: number; kind: K } & Asks[K]["ask"] }[Kind];
export type Reply =
  | { id: number; answer: unknown }
  | { id: number; error: string }
  | { say: string };
