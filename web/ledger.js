/**
 * The books of one stream: frames that are unanswered, results that are to be acknowledged.
 *
 * Rules
 *  1. At most `limit` frames are unanswered; the caller asks for room first.
 *  2. A frame is answered by the first that names it: its result, `dropped`, or an
 *     error; a lost connection answers all of them.
 *  3. What was received is acknowledged once, by the next frame or by an `ack`; it
 *     is due at once when half of the credit is owed.
 *  4. The numbers of frames grow for the life of the stream, over every session that
 *     it has; those of results start again with each session.
 *
 * No I/O and no clock: link.js and stream.js drive this.
 */

export class Ledger {
  /** The server's, as of its last welcome. */
  limit = 0;

  #sent = 0;
  #received = 0;
  #acknowledged = 0;
  /** @type {Map<number, number>} seq → time sent */
  #unanswered = new Map();

  /** The highest seq of a result in this session; 0 before the first. */
  get received() {
    return this.#received;
  }

  get hasRoom() {
    return this.#unanswered.size < this.limit;
  }

  get ackIsUrgent() {
    return (this.#received - this.#acknowledged) * 2 >= this.limit;
  }

  /** Enters a frame. @param {number} now @returns {number} its seq */
  open(now) {
    this.#unanswered.set(++this.#sent, now);
    return this.#sent;
  }

  /**
   * Enters a result, and that it was received.
   * @param {number} seq
   * @param {number} frameSeq
   * @returns {number | undefined} when its frame was sent; undefined where it was answered before
   */
  onResult(seq, frameSeq) {
    this.#received = Math.max(this.#received, seq);
    const sentAt = this.#unanswered.get(frameSeq);
    this.#unanswered.delete(frameSeq);
    return sentAt;
  }

  /** Enters frames that get no result. @param {number[]} frames */
  onUnserved(frames) {
    for (const seq of frames) this.#unanswered.delete(seq);
  }

  /** The connection is gone. @returns {number[]} the frames that were unanswered */
  onClosed() {
    const lost = [...this.#unanswered.keys()];
    this.#unanswered.clear();
    return lost;
  }

  /** A new session: its results are numbered from 1. */
  restart() {
    this.#received = this.#acknowledged = 0;
  }

  /** @returns {number} the seq to acknowledge in the message that is about to leave */
  acknowledge() {
    this.#acknowledged = this.#received;
    return this.#received;
  }
}
