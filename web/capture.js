/**
 * From a source to the stream: draw small, encode as JPEG, send while there is room.
 *
 * A picture is taken only if it can be sent, so no time is spent on frames that
 * nobody will see. The picture of each unanswered frame is kept at full
 * resolution, because its result is drawn over that picture and no other.
 */

const FRAMES_PER_SECOND = 30;
const INTERVAL_MS = 1000 / FRAMES_PER_SECOND;
const JPEG_QUALITY = 0.8;

/** @typedef {import("./sources.js").Source} Source */
/** @typedef {import("./stream.js").Stream} Stream */

export class Capture {
  /** Widest picture to send, in pixels. */
  maxWidth = 640;
  /** Whether the full-resolution picture of each frame is kept. */
  keepsPictures = false;

  #stream;
  #onSent;
  #canvas = document.createElement("canvas");
  #context = this.#canvas.getContext("2d", { alpha: false });
  /** @type {Source | null} */
  #source = null;
  #unwatch = () => {};
  #dueAt = 0;
  #encoding = false;
  /** @type {Map<number, ImageBitmap>} */
  #pictures = new Map();

  /**
   * @param {Stream} stream
   * @param {(bytes: number) => void} onSent called with the size of each frame sent
   */
  constructor(stream, onSent) {
    this.#stream = stream;
    this.#onSent = onSent;
  }

  /** @param {Source} source */
  start(source) {
    this.stop();
    this.#source = source;
    this.#unwatch = source.watch(() => this.#tick());
  }

  stop() {
    this.#unwatch();
    this.#source = null;
    this.forget([...this.#pictures.keys()]);
  }

  /** The picture of frame `seq`, handed over: the caller closes it. */
  take(seq) {
    const picture = this.#pictures.get(seq) ?? null;
    this.#pictures.delete(seq);
    return picture;
  }

  /** @param {number[]} seqs frames that will have no result */
  forget(seqs) {
    for (const seq of seqs) this.take(seq)?.close();
  }

  #tick() {
    const now = performance.now();
    // A quarter of an interval of tolerance: display and capture rates rarely divide evenly.
    if (this.#encoding || now < this.#dueAt - INTERVAL_MS / 4 || !this.#stream.hasRoom) return;
    this.#dueAt = Math.max(this.#dueAt + INTERVAL_MS, now);
    this.#encoding = true;
    this.#send(this.#source).finally(() => (this.#encoding = false));
  }

  /** @param {Source} source */
  async #send(source) {
    const scale = Math.min(1, this.maxWidth / source.width);
    const [width, height] = [source.width, source.height].map((side) =>
      Math.max(1, Math.round(side * scale)),
    );
    if (this.#canvas.width !== width || this.#canvas.height !== height)
      Object.assign(this.#canvas, { width, height });
    this.#context.drawImage(source.picture, 0, 0, width, height);
    const kept = this.keepsPictures ? createImageBitmap(source.picture) : null;
    const blob = await new Promise((done) => this.#canvas.toBlob(done, "image/jpeg", JPEG_QUALITY));
    const [image, picture] = await Promise.all([blob.arrayBuffer(), kept]);
    const seq = source === this.#source ? this.#stream.sendFrame(image) : null;
    if (seq === null) return picture?.close();
    if (picture) this.#pictures.set(seq, picture);
    this.#onSent(image.byteLength);
  }
}
