/**
 * What a stream achieves, counted by the page: rates, latencies and sizes of the last seconds.
 *
 * Everything is measured in the browser but the stage times, which each result
 * brings along. Readings are made on demand from the samples of the last
 * seconds, so an idle stream reads as zero and not as its last value.
 */

const KEPT_MS = 4_000;

/** @typedef {{at: number, value: number}} Sample */

/** Samples of the last seconds. */
class Series {
  /** @type {Sample[]} */
  #samples = [];

  add(value) {
    this.#samples.push({ at: performance.now(), value });
  }

  /** @returns {number[]} values of the last seconds, oldest first */
  get values() {
    const oldest = performance.now() - KEPT_MS;
    const first = this.#samples.findIndex((sample) => sample.at >= oldest);
    this.#samples = first < 0 ? [] : this.#samples.slice(first);
    return this.#samples.map((sample) => sample.value);
  }

  get mean() {
    const { values } = this;
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0;
  }

  /** Samples per second, over the time that was sampled where that is shorter. */
  get rate() {
    const count = this.values.length;
    if (count < 2) return 0;
    const span = this.#samples[count - 1].at - this.#samples[0].at;
    const quiet = performance.now() - this.#samples[count - 1].at;
    return ((count - 1) * 1000) / Math.max(span, quiet > 1000 ? KEPT_MS : span, 1);
  }

  /** @param {number} part 0.5 is the median (nearest rank) */
  quantile(part) {
    const sorted = this.values.sort((a, b) => a - b);
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] : 0;
  }
}

/**
 * @typedef {object} Reading
 * @property {number} fpsOut frames sent per second
 * @property {number} fpsIn results received per second
 * @property {number} p50 round trip, ms
 * @property {number} p95
 * @property {Array<[string, number]>} stages mean ms on the server, in the order of travel
 * @property {number} serverMs their sum
 * @property {number} batch frames per call on the server, mean
 * @property {number} upKB per frame
 * @property {number} downKB per result
 * @property {number} dropped since the page was loaded
 * @property {Array<[string, number]>} causes of the drops, most frequent first
 */

const STAGES = ["queue", "decode", "inference", "render", "encode"];

export class Tally {
  #sent = new Series();
  #received = new Series();
  #roundTrip = new Series();
  #batch = new Series();
  #stages = Object.fromEntries(STAGES.map((stage) => [stage, new Series()]));
  /** @type {Map<string, number>} */
  #drops = new Map();

  /** @param {number} bytes of one frame */
  sent(bytes) {
    this.#sent.add(bytes);
  }

  /** @param {import("./stream.js").StreamResult} result */
  received(result) {
    this.#received.add(result.bytes);
    this.#batch.add(result.meta.batch);
    if (result.roundTripMs !== null) this.#roundTrip.add(result.roundTripMs);
    for (const stage of STAGES) this.#stages[stage].add(result.meta.stages_ms[stage] ?? 0);
  }

  /** @param {string} cause @param {number} count */
  dropped(cause, count) {
    this.#drops.set(cause, (this.#drops.get(cause) ?? 0) + count);
  }

  /** @returns {Reading} */
  read() {
    const stages = STAGES.map((stage) => /** @type {[string, number]} */ ([stage, this.#stages[stage].mean]));
    const causes = [...this.#drops].sort((a, b) => b[1] - a[1]);
    return {
      fpsOut: this.#sent.rate,
      fpsIn: this.#received.rate,
      p50: this.#roundTrip.quantile(0.5),
      p95: this.#roundTrip.quantile(0.95),
      stages,
      serverMs: stages.reduce((sum, [, ms]) => sum + ms, 0),
      batch: this.#batch.mean,
      upKB: this.#sent.mean / 1024,
      downKB: this.#received.mean / 1024,
      dropped: causes.reduce((sum, [, count]) => sum + count, 0),
      causes,
    };
  }
}
