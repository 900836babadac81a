/** 8-bit RGB PNG to bytes. A canvas would do, but some browsers change what is read from one. */

/** The pixels, H x W x 3, row by row, of a PNG without palette, alpha or interlacing. */
export async function decodePng(file: Uint8Array): Promise<Uint8Array> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const packed: Uint8Array[] = [];
  let [width, height, kind] = [0, 0, ""];
  for (let place = 8; place + 12 <= file.length; ) {
    const size = view.getUint32(place);
    const name = String.fromCharCode(...file.subarray(place + 4, place + 8));
    if (name === "IHDR") {
      [width, height] = [view.getUint32(place + 8), view.getUint32(place + 12)];
      kind = file.subarray(place + 16, place + 21).join();
    }
    if (name === "IDAT") packed.push(file.subarray(place + 8, place + 8 + size));
    place += size + 12;
  }
  if (kind !== "8,2,0,0,0") throw new Error("The picture should be an 8-bit RGB PNG but is not; load the page again.");
  const stream = new Blob(packed as BlobPart[]).stream().pipeThrough(new DecompressionStream("deflate"));
  return unfiltered(new Uint8Array(await new Response(stream).arrayBuffer()), width, height);
}

/** Undo the filters of PNG (W3C PNG, section 9): each row begins with its filter's number. */
function unfiltered(rows: Uint8Array, width: number, height: number): Uint8Array {
  const stride = 3 * width;
  const pixels = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (stride + 1)];
    for (let x = 0; x < stride; x++) {
      const at = y * stride + x;
      const left = x >= 3 ? pixels[at - 3] : 0;
      const above = y > 0 ? pixels[at - stride] : 0;
      const corner = x >= 3 && y > 0 ? pixels[at - stride - 3] : 0;
      pixels[at] = rows[at + y + 1] + predicted(filter, left, above, corner);
    }
  }
  return pixels;
}

function predicted(filter: number, left: number, above: number, corner: number): number {
  if (filter === 1) return left;
  if (filter === 2) return above;
  if (filter === 3) return (left + above) >> 1;
  if (filter !== 4) return 0;
  const [a, b, c] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? above : corner;
}
