/** EXIF, changed in place: the result is upright, has a size of its own, and no thumbnail of the old picture. */

const [ORIENTATION, EXIF_DIRECTORY, WIDTH, HEIGHT] = [0x0112, 0x8769, 0xa002, 0xa003];
const [SHORT, LONG] = [3, 4];

/** The block, TIFF's header first, for an upright picture of width x height px; a damaged one as far as it goes. */
export function upright(block: Uint8Array, width: number, height: number): Uint8Array {
  const changed = block.slice();
  const view = new DataView(changed.buffer);
  const order = String.fromCharCode(changed[0], changed[1]);
  if (changed.length < 14 || (order !== "II" && order !== "MM")) return changed;
  const little = order === "II";
  const values = new Map([
    [ORIENTATION, 1],
    [WIDTH, width],
    [HEIGHT, height],
  ]);
  const first = view.getUint32(4, little);
  const inner = directory(view, first, little, values);
  if (inner.exif !== null) directory(view, inner.exif, little, values);
  if (inner.next !== null) cutThumbnail(view, inner.next, little);
  return changed;
}

/** Write the values into a directory; returns the place of the EXIF directory, and of the pointer to the next one. */
function directory(view: DataView, start: number, little: boolean, values: Map<number, number>) {
  let exif: number | null = null;
  if (start + 2 > view.byteLength) return { exif, next: null };
  const count = view.getUint16(start, little);
  const end = start + 2 + 12 * count;
  if (end + 4 > view.byteLength) return { exif, next: null };
  for (let entry = start + 2; entry < end; entry += 12) {
    const tag = view.getUint16(entry, little);
    const kind = view.getUint16(entry + 2, little);
    const value = values.get(tag);
    if (tag === EXIF_DIRECTORY) exif = view.getUint32(entry + 8, little);
    if (value !== undefined && kind === SHORT) view.setUint16(entry + 8, value, little);
    if (value !== undefined && kind === LONG) view.setUint32(entry + 8, value, little);
  }
  return { exif, next: end };
}

/** Blank the bytes of the thumbnail, and end the chain of directories before it. */
function cutThumbnail(view: DataView, pointer: number, little: boolean): void {
  const start = view.getUint32(pointer, little);
  view.setUint32(pointer, 0, little);
  if (start === 0 || start + 2 > view.byteLength) return;
  const found = new Map<number, number>();
  const end = Math.min(start + 2 + 12 * view.getUint16(start, little), view.byteLength - 12);
  for (let entry = start + 2; entry <= end; entry += 12) {
    found.set(view.getUint16(entry, little), view.getUint32(entry + 8, little));
  }
  const [place, size] = [found.get(0x0201), found.get(0x0202)];
  if (place === undefined || size === undefined || place + size > view.byteLength) return;
  new Uint8Array(view.buffer, place, size).fill(0);
}
