/** What the network changes, and the CPU's way to apply it to a photograph: the formula of runtimes/apply/oracle.py. */
import { adjusted, exposed, type Controls } from "./controls";

export interface Change {
  /** 16 numbers: black level, gain, six steps, S, lift, saturation, gains of R, G and B, share, 0. */
  tone: Float32Array;
  /** 12 x h x w: the rows of (A | b) of each window; null for a tone head alone. */
  maps: Grid | null;
}

export interface Grid {
  values: Float32Array;
  width: number;
  height: number;
}

/** RGBA bytes, row by row. */
export interface Pixels {
  data: Uint8ClampedArray<ArrayBuffer>;
  width: number;
  height: number;
}

const LUMA = [0.299, 0.587, 0.114]; // runtimes/image.py

/** Apply a change to a photograph of any size. */
export function applied(photograph: Pixels, change: Change, controls: Controls): Pixels {
  const { width, height, data } = photograph;
  const result = new Uint8ClampedArray(data.length);
  const curve = Float64Array.from({ length: 256 }, (_, code) => curved(code / 255, change.tone));
  const across = change.maps && between(change.maps.width, width);
  const down = change.maps && between(change.maps.height, height);
  const line = new Float64Array(change.maps ? 12 * change.maps.width : 0);
  const t = new Float64Array(3);
  const e = new Float64Array(3);
  for (let y = 0; y < height; y++) {
    if (change.maps && down) mix(change.maps, down, y, line);
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      toned(data, at, curve, change.tone, t);
      e.set(t);
      if (change.maps && across) addAffine(e, t, line, change.maps.width, across, x);
      for (let c = 0; c < 3; c++) result[at + c] = code(data[at + c] / 255, e[c], controls);
      result[at + 3] = data[at + 3];
    }
  }
  return { data: result, width, height };
}

/** The tone head's curve for one channel. */
function curved(x: number, tone: Float32Array): number {
  let v = Math.min(Math.max((x - tone[0]) * tone[1], 0), 1);
  for (let i = 2; i < 8; i++) v += tone[i] * v * (1 - v);
  v += tone[8] * v * (1 - v) * (2 * v - 1);
  return v + tone[9] * (1 - v);
}

/** The pixel after the curve, the saturation and the gains, mixed with itself by the share. */
function toned(data: Uint8ClampedArray, at: number, curve: Float64Array, tone: Float32Array, t: Float64Array): void {
  const [r, g, b] = [curve[data[at]], curve[data[at + 1]], curve[data[at + 2]]];
  const luma = LUMA[0] * r + LUMA[1] * g + LUMA[2] * b;
  for (let c = 0; c < 3; c++) {
    const v = c === 0 ? r : c === 1 ? g : b;
    const x = data[at + c] / 255;
    t[c] = x + tone[14] * (Math.min(Math.max((v + (v - luma) * tone[10]) * tone[11 + c], 0), 1) - x);
  }
}

interface Between {
  low: Int32Array;
  share: Float64Array;
}

/** For each of `size` pixel centres: the lower of its two neighbours among `cells` centres, and the other's share. */
function between(cells: number, size: number): Between {
  const low = new Int32Array(size);
  const share = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const position = Math.min(Math.max(((i + 0.5) * cells) / size - 0.5, 0), cells - 1);
    low[i] = Math.floor(position);
    share[i] = position - low[i];
  }
  return { low, share };
}

/** The maps at a row of the photograph, 12 x w. */
function mix(maps: Grid, down: Between, y: number, line: Float64Array): void {
  const { values, width, height } = maps;
  const upper = down.low[y] * width;
  const lower = Math.min(down.low[y] + 1, height - 1) * width;
  for (let plane = 0; plane < 12; plane++) {
    const start = plane * width * height;
    for (let x = 0; x < width; x++) {
      const above = values[start + upper + x];
      line[plane * width + x] = above + down.share[y] * (values[start + lower + x] - above);
    }
  }
}

function addAffine(e: Float64Array, t: Float64Array, line: Float64Array, width: number, at: Between, x: number): void {
  const left = at.low[x];
  const right = Math.min(left + 1, width - 1);
  const share = at.share[x];
  for (let c = 0; c < 3; c++) {
    let sum = 0;
    for (let k = 0; k < 4; k++) {
      const start = (4 * c + k) * width;
      const value = line[start + left] + share * (line[start + right] - line[start + left]);
      sum += k < 3 ? value * t[k] : value;
    }
    e[c] += sum;
  }
}

function code(x: number, e: number, controls: Controls): number {
  const inside = Math.min(Math.max(e, 0), 1);
  const y = controls.strength === 1 ? exposed(inside, controls.exposure) : adjusted(x, inside, controls);
  return Math.floor(255 * Math.min(y, 1) + 0.5);
}
