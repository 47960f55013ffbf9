/**
 * The large picture: each result over the frame it belongs to, one round trip late.
 *
 * Results are decoded side by side and may finish out of order; one that is
 * older than what is on show is thrown away.
 */

import { decodeMask } from "./mask.js";
import { Painter } from "./painter.js";

/** @typedef {import("./stream.js").StreamResult} StreamResult */
/** @typedef {import("./painter.js").Look} Look */

export class Stage {
  #context;
  #painter = new Painter();
  #shownSeq = 0;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#context = canvas.getContext("2d");
  }

  /** @param {boolean} mirrored whether pictures are shown as in a mirror */
  set mirrored(mirrored) {
    this.#context.canvas.classList.toggle("mirrored", mirrored);
  }

  /** A picture of the source alone, before any result. */
  preview({ picture, width, height }) {
    this.#resize(width, height);
    this.#context.drawImage(picture, 0, 0, width, height);
  }

  /** Results are numbered from 1 again in a new session. */
  restart() {
    this.#shownSeq = 0;
  }

  /**
   * Shows a picture that the server has drawn.
   * @param {StreamResult} result
   */
  async showPicture({ seq, meta, payload }) {
    const image = await createImageBitmap(new Blob([payload], { type: meta.media_type }));
    if (this.#isNew(seq)) {
      this.#resize(image.width, image.height);
      this.#context.drawImage(image, 0, 0);
    }
    image.close();
  }

  /**
   * Draws a mask over the frame that was kept for it.
   * @param {StreamResult} result
   * @param {ImageBitmap} frame closed here
   * @param {Array<[number, number, number]>} palette of the mode
   * @param {Look} look
   */
  async showMask({ seq, payload }, frame, palette, look) {
    const mask = await decodeMask(payload);
    if (this.#isNew(seq)) {
      this.#painter.paint(this.#context, frame, mask, merged(mask.palette, palette), look);
      this.#shape(this.#context.canvas.width, this.#context.canvas.height);
    }
    frame.close();
  }

  /** On a small screen the stage takes the shape of the picture. */
  #shape(width, height) {
    this.#context.canvas.parentElement.style.setProperty("--shape", String(width / height));
  }

  #isNew(seq) {
    const isNew = seq > this.#shownSeq;
    if (isNew) this.#shownSeq = seq;
    return isNew;
  }

  #resize(width, height) {
    const { canvas } = this.#context;
    this.#shape(width, height);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    else this.#context.clearRect(0, 0, width, height);
  }
}

/** The mask's own colours, which follow the chosen colour map, for the classes that the mode has. */
function merged(fromMask, fromMode) {
  return fromMode.map((colour, id) => fromMask?.[id] ?? colour);
}
