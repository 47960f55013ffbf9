/**
 * Draws a mask over the frame it belongs to, at the frame's full resolution.
 *
 * Two layers are made at the mask's resolution, the tint (class colour where a
 * class is shown) and its contour, and scaled up with smoothing; the styles
 * below combine them with the frame. "Foreground" is every class that is shown.
 * Styles and defaults are those of the server (models/pictures/render.py), so that moving
 * the drawing from one side to the other changes where it happens and not what it is.
 */

import { rgb } from "./classes.js";

const DEFAULT_BLUR = 12;
const DEFAULT_BACKGROUND = "#00b140";
/** Blur radii are given for a frame of this width. */
const BLUR_REFERENCE_WIDTH = 640;
const OPAQUE = 0xff000000;

/** @typedef {import("./mask.js").Mask} Mask */
/** @typedef {[number, number, number]} Colour RGB */

/**
 * @typedef {object} Look
 * @property {string} visualization_mode
 * @property {number} overlay_opacity
 * @property {number[] | null} class_filter null shows every class but the background
 * @property {string | number | null} background
 */

const layer = () => new OffscreenCanvas(1, 1).getContext("2d");

export class Painter {
  #tint = layer();
  #contour = layer();
  #cut = layer();
  #blurred = [layer(), layer()];
  /** Size of the frame being painted. */
  #width = 0;
  #height = 0;

  /** @type {Record<string, (c: CanvasRenderingContext2D, frame: ImageBitmap, look: Look, palette: Colour[]) => void>} */
  #styles = {
    filled: (c, frame, look) => {
      c.drawImage(frame, 0, 0);
      this.#cover(c, this.#tint, look.overlay_opacity);
    },
    contour: (c, frame, look) => {
      c.drawImage(frame, 0, 0);
      this.#cover(c, this.#contour, look.overlay_opacity);
    },
    "side-by-side": (c, frame, look) => {
      c.drawImage(frame, 0, 0);
      c.translate(frame.width, 0);
      this.#styles.filled(c, frame, look);
    },
    blend: (c, frame, look, palette) => {
      fit(this.#cut, frame.width, frame.height);
      this.#cut.globalCompositeOperation = "source-over";
      this.#flood(this.#cut, rgb(palette[0]));
      this.#cover(this.#cut, this.#tint, 1);
      c.drawImage(frame, 0, 0);
      this.#cover(c, this.#cut, look.overlay_opacity);
    },
    cutout: (c, frame, look) => {
      if (typeof look.background === "string") this.#flood(c, look.background);
      c.drawImage(this.#foreground(frame), 0, 0);
    },
    replace: (c, frame, look) => {
      this.#flood(c, typeof look.background === "string" ? look.background : DEFAULT_BACKGROUND);
      c.drawImage(this.#foreground(frame), 0, 0);
    },
    blur: (c, frame, look) => {
      const radius = typeof look.background === "number" ? look.background : DEFAULT_BLUR;
      this.#drawBlurred(c, frame, (radius * frame.width) / BLUR_REFERENCE_WIDTH);
      c.drawImage(this.#foreground(frame), 0, 0);
    },
  };

  /**
   * @param {CanvasRenderingContext2D} context its canvas takes the size of the picture
   * @param {ImageBitmap} frame
   * @param {Mask} mask
   * @param {Colour[]} palette by class id
   * @param {Look} look
   */
  paint(context, frame, mask, palette, look) {
    this.#layOut(mask, palette, shownClasses(palette.length, look.class_filter));
    [this.#width, this.#height] = [frame.width, frame.height];
    const wide = look.visualization_mode === "side-by-side" ? 2 : 1;
    fit(context, frame.width * wide, frame.height);
    context.save();
    this.#styles[look.visualization_mode](context, frame, look, palette);
    context.restore();
  }

  /** Tint and contour of one mask. */
  #layOut({ width, height, ids }, palette, shown) {
    const colours = palette.map(([r, g, b], id) =>
      shown[id] ? (r | (g << 8) | (b << 16) | OPAQUE) >>> 0 : 0,
    );
    const tint = new Uint32Array(ids.length);
    const contour = new Uint32Array(ids.length);
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i];
      if (!colours[id]) continue;
      tint[i] = colours[id];
      // Past the first and the last row there is nothing to differ from.
      const above = ids[i - width] ?? id;
      const below = ids[i + width] ?? id;
      if (id !== ids[i - 1] || id !== ids[i + 1] || id !== above || id !== below) {
        for (const j of [i, i - 1, i + 1, i - width, i + width]) contour[j] = colours[id];
      }
    }
    write(this.#tint, tint, width, height);
    write(this.#contour, contour, width, height);
  }

  /** Stretches a layer over the frame. */
  #cover(c, { canvas }, opacity) {
    c.globalAlpha = opacity;
    c.imageSmoothingQuality = "high";
    c.drawImage(canvas, 0, 0, this.#width, this.#height);
    c.globalAlpha = 1;
  }

  #flood(c, colour) {
    c.fillStyle = colour;
    c.fillRect(0, 0, c.canvas.width, c.canvas.height);
  }

  /** The frame where a class is shown, transparent elsewhere. */
  #foreground(frame) {
    const c = this.#cut;
    fit(c, frame.width, frame.height);
    c.globalCompositeOperation = "source-over";
    this.#cover(c, this.#tint, 1);
    c.globalCompositeOperation = "source-in";
    c.drawImage(frame, 0, 0);
    return c.canvas;
  }

  /** Halves the frame until a pixel is as wide as the radius, then doubles it again: smooth everywhere, fast. */
  #drawBlurred(c, frame, radius) {
    const halvings = Math.max(1, Math.round(Math.log2(radius)));
    let [from, to] = this.#blurred;
    let picture = frame;
    const steps = [...Array(halvings).keys()].map((n) => n + 1);
    for (const n of [...steps, ...steps.slice(0, -1).reverse()]) {
      fit(to, Math.max(1, frame.width >> n), Math.max(1, frame.height >> n));
      to.drawImage(picture, 0, 0, to.canvas.width, to.canvas.height);
      picture = to.canvas;
      [from, to] = [to, from];
    }
    c.drawImage(picture, 0, 0, frame.width, frame.height);
  }
}

/** @returns {boolean[]} by class id */
function shownClasses(count, filter) {
  return Array.from({ length: count }, (_, id) => (filter ? filter.includes(id) : id > 0));
}

/** Gives a canvas its size and an empty, untouched context. */
function fit(context, width, height) {
  const { canvas } = context;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  else context.clearRect(0, 0, width, height);
}

function write(context, pixels, width, height) {
  fit(context, width, height);
  context.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), 0, 0);
}
