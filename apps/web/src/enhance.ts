/** The way of one photograph: what the network sees, and its answer on every pixel. */
import { adjusted, type Controls } from "./controls";
import type { Pixels } from "./change";
import type { Answer } from "./engine";
import type { Apply } from "./gpu";
import { padded, reduced, type Rgb } from "./resample";

const MULTIPLE = 8; // of the network's sides
const LEAST = 16;

export interface Seen {
  picture: Rgb;
  /** Whether it is the photograph itself, padded at its right and lower edge. */
  whole: boolean;
}

/** The photograph itself where no side is longer than `side` px, and else a reduced copy. */
export function seenByNetwork(photograph: Pixels, side: number): Seen {
  const { width, height } = photograph;
  const scale = side / Math.max(width, height);
  if (scale >= 1 && Math.min(width, height) >= LEAST) return { picture: padded(toRgb(photograph), MULTIPLE), whole: true };
  const [w, h] = [width, height].map((length) => {
    const fitted = MULTIPLE * Math.round((length * Math.min(scale, 1)) / MULTIPLE);
    return Math.min(Math.max(fitted, LEAST), side);
  });
  return { picture: reduced(photograph, w, h), whole: false };
}

function toRgb({ data, width, height }: Pixels): Rgb {
  const rgb = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) rgb[3 * i + c] = data[4 * i + c];
  }
  return { data: rgb, width, height };
}

/** The enhanced picture. `whole`: the network's own answer, for the photograph that it saw; otherwise by maps. */
export function result(
  pixels: Pixels,
  answer: Answer,
  seen: Seen | null,
  controls: Controls,
  apply: Apply,
): Promise<Pixels> {
  return seen?.whole ? Promise.resolve(drawn(pixels, answer, seen.picture, controls)) : apply(pixels, answer.change, controls);
}

function drawn({ data, width, height }: Pixels, { enhanced }: Answer, padded: Rgb, controls: Controls): Pixels {
  const size = padded.width * padded.height;
  const drawn = new Uint8ClampedArray(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      for (let c = 0; c < 3; c++) {
        const e = Math.min(Math.max(enhanced[c * size + y * padded.width + x], 0), 1);
        drawn[at + c] = Math.floor(255 * adjusted(data[at + c] / 255, e, controls) + 0.5);
      }
      drawn[at + 3] = 255;
    }
  }
  return { data: drawn, width, height };
}
