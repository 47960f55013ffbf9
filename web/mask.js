/**
 * Masks as they come off the wire, as class ids per pixel.
 *
 * A bilevel PNG is white where the foreground is. A palette PNG holds class ids
 * as palette indices; a browser decodes those to colours, so the palette is read
 * from the file itself and the colours are taken back to ids.
 */

const PNG_SIGNATURE_BYTES = 8;
/** Offset of the colour type in the IHDR chunk (ISO/IEC 15948, 11.2.1). */
const COLOUR_TYPE_AT = 25;
const MASK_COLOUR_TYPES = [0, 3];
const PLTE = 0x504c5445;
const IDAT = 0x49444154;

/**
 * @typedef {object} Mask
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array} ids class id of each pixel, row by row
 * @property {Array<[number, number, number]> | null} palette RGB by class id; null for a bilevel mask
 */

const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { willReadFrequently: true });

/**
 * Decodes one mask.
 * @param {Uint8Array} payload PNG
 * @returns {Promise<Mask>}
 */
export async function decodeMask(payload) {
  const blob = new Blob([payload], { type: "image/png" });
  const image = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const { width, height } = image;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.drawImage(image, 0, 0);
  image.close();
  const palette = readPalette(payload);
  const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  return { width, height, palette, ids: palette ? idsByColour(pixels, palette) : idsByLightness(pixels) };
}

/**
 * Whether a payload is a mask: PNG overlays have colour (types 2 and 6), masks have
 * grey or a palette (types 0 and 3). Asked of each result, because results of the
 * old view still arrive after a change.
 * @param {Uint8Array} payload
 * @param {string} mediaType
 */
export function isMask(payload, mediaType) {
  return mediaType === "image/png" && MASK_COLOUR_TYPES.includes(payload[COLOUR_TYPE_AT]);
}

/** The PLTE chunk of a PNG (ISO/IEC 15948, 11.2.2), or null where there is none. */
function readPalette(png) {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  let at = PNG_SIGNATURE_BYTES;
  while (at + 8 <= png.byteLength) {
    const [bytes, type] = [view.getUint32(at), view.getUint32(at + 4)];
    if (type === PLTE) {
      return Array.from({ length: bytes / 3 }, (_, i) => [...png.subarray(at + 8 + 3 * i, at + 11 + 3 * i)]);
    }
    if (type === IDAT) return null;
    at += 12 + bytes;
  }
  return null;
}

/** Little-endian RGBA words: red is the lowest byte. */
function idsByColour(pixels, palette) {
  const idOf = new Map();
  palette.forEach(([r, g, b], id) => {
    const colour = r | (g << 8) | (b << 16);
    if (!idOf.has(colour)) idOf.set(colour, id);
  });
  const ids = new Uint8Array(pixels.length);
  for (let i = 0; i < ids.length; i++) ids[i] = idOf.get(pixels[i] & 0xffffff) ?? 0;
  return ids;
}

function idsByLightness(pixels) {
  const ids = new Uint8Array(pixels.length);
  for (let i = 0; i < ids.length; i++) ids[i] = (pixels[i] & 0xff) >> 7;
  return ids;
}
