/** The reduced copy that the network sees, made as the Python runtime makes it: Pillow's Lanczos after whole reductions. */
import type { Pixels } from "./change";

const REACH = 3; // of Lanczos' filter
const GAP = 3; // a photograph that is larger by more than this is first averaged over whole blocks

/** H x W x 3 bytes. */
export interface Rgb {
  data: Uint8Array;
  width: number;
  height: number;
}

export function reduced(photograph: Pixels, width: number, height: number): Rgb {
  const { width: fullWidth, height: fullHeight } = photograph;
  const byX = Math.max(1, Math.floor(fullWidth / width / GAP));
  const byY = Math.max(1, Math.floor(fullHeight / height / GAP));
  const blocks = averaged(photograph, byX, byY);
  const wide = resized(blocks, width, fullWidth / byX);
  return transposed(resized(transposed(wide), height, fullHeight / byY));
}

/** Average blocks of byX x byY px; those at the right and lower edge may be smaller. */
function averaged({ data, width, height }: Pixels, byX: number, byY: number): Rgb {
  const [columns, rows] = [Math.ceil(width / byX), Math.ceil(height / byY)];
  const result = new Uint8Array(3 * columns * rows);
  for (let row = 0; row < rows; row++) {
    const bottom = Math.min((row + 1) * byY, height);
    for (let column = 0; column < columns; column++) {
      const right = Math.min((column + 1) * byX, width);
      let [r, g, b] = [0, 0, 0];
      for (let y = row * byY; y < bottom; y++) {
        for (let x = column * byX; x < right; x++) {
          const at = 4 * (y * width + x);
          r += data[at];
          g += data[at + 1];
          b += data[at + 2];
        }
      }
      const count = (bottom - row * byY) * (right - column * byX);
      const at = 3 * (row * columns + column);
      result[at] = Math.floor(r / count + 0.5);
      result[at + 1] = Math.floor(g / count + 0.5);
      result[at + 2] = Math.floor(b / count + 0.5);
    }
  }
  return { data: result, width: columns, height: rows };
}

/** Resample every row to `width` px. `from`: the part of the rows that counts, in px, which need not be whole. */
function resized(picture: Rgb, width: number, from: number): Rgb {
  if (width === picture.width && from === width) return picture;
  const result = new Uint8Array(3 * width * picture.height);
  const scale = from / width;
  const filterScale = Math.max(scale, 1);
  for (let column = 0; column < width; column++) {
    const centre = (column + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - REACH * filterScale + 0.5));
    const end = Math.min(picture.width, Math.trunc(centre + REACH * filterScale + 0.5));
    const weights = Array.from({ length: end - start }, (_, i) => lanczos((start + i + 0.5 - centre) / filterScale));
    const total = weights.reduce((sum, each) => sum + each, 0);
    for (let row = 0; row < picture.height; row++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let i = start; i < end; i++) sum += weights[i - start] * picture.data[3 * (row * picture.width + i) + c];
        const code = Math.floor(sum / total + 0.5);
        result[3 * (row * width + column) + c] = Math.min(Math.max(code, 0), 255);
      }
    }
  }
  return { data: result, width, height: picture.height };
}

function lanczos(x: number): number {
  if (x === 0) return 1;
  if (Math.abs(x) >= REACH) return 0;
  return (REACH * Math.sin(Math.PI * x) * Math.sin((Math.PI * x) / REACH)) / (Math.PI * x) ** 2;
}

function transposed({ data, width, height }: Rgb): Rgb {
  const result = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [from, to] = [3 * (y * width + x), 3 * (x * height + y)];
      for (let c = 0; c < 3; c++) result[to + c] = data[from + c];
    }
  }
  return { data: result, width: height, height: width };
}

/** Reflect a picture beyond its right and lower edge, up to multiples of `by`. */
export function padded({ data, width, height }: Rgb, by: number): Rgb {
  const [columns, rows] = [width, height].map((side) => Math.ceil(side / by) * by);
  const result = new Uint8Array(3 * columns * rows);
  const mirrored = (i: number, side: number) => (i < side ? i : 2 * (side - 1) - i);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const from = 3 * (mirrored(y, height) * width + mirrored(x, width));
      for (let c = 0; c < 3; c++) result[3 * (y * columns + x) + c] = data[from + c];
    }
  }
  return { data: result, width: columns, height: rows };
}
