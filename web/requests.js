/**
 * Requests under way, in the order in which they were sent.
 *
 * Rules
 *  1. A request waits for its reply over any number of connections, up to its deadline.
 *  2. Ids grow, so the order of ids is the order of sending. A server that names the
 *     newest request it received has received all before it.
 *  3. A lost connection answers nothing: what the server received is answered by its
 *     replay, the rest is sent again. The end of the session answers all.
 *
 * No I/O: stream.js drives this.
 */

const REPLY_DEADLINE_MS = 60_000;

/** An `error` message of the server, or a request that got no reply. */
export class StreamProblem extends Error {
  /**
   * @param {string} code of the protocol, or NO_REPLY, CONNECTION_LOST, NOT_CONNECTED
   * @param {string} message
   * @param {boolean} recoverable false: the server closes next
   * @param {number} [frameSeq] the frame that this answers
   */
  constructor(code, message, recoverable = true, frameSeq = undefined) {
    super(message);
    this.code = code;
    this.recoverable = recoverable;
    this.frameSeq = frameSeq;
  }
}

/**
 * @typedef {object} Request
 * @property {string} text as it is sent
 * @property {(reply: any) => void} resolve
 * @property {(problem: StreamProblem) => void} reject
 * @property {number} timer
 */

export class Requests {
  #newest = 0;
  /** @type {Map<number, Request>} */
  #underWay = new Map();

  /**
   * Numbers a request and enters it; it must be sent before the next one is entered.
   * @param {{type: string}} message
   * @returns {{text: string, reply: Promise<any>}}
   */
  open(message) {
    const id = ++this.#newest;
    const text = JSON.stringify({ ...message, id });
    const reply = new Promise((resolve, reject) => {
      const late = new StreamProblem("NO_REPLY", `The server did not reply to ${message.type} in time.`);
      const timer = setTimeout(() => this.settle(id, late), REPLY_DEADLINE_MS);
      this.#underWay.set(id, { text, resolve, reject, timer });
    });
    return { text, reply };
  }

  /**
   * Settles one request.
   * @param {number} id
   * @param {any} outcome its reply, or a StreamProblem
   * @returns {boolean} false where it is not (or no longer) waited for
   */
  settle(id, outcome) {
    const request = this.#underWay.get(id);
    if (!request) return false;
    this.#underWay.delete(id);
    clearTimeout(request.timer);
    if (outcome instanceof StreamProblem) request.reject(outcome);
    else request.resolve(outcome);
    return true;
  }

  /** @param {number} last the newest that the server received @returns {string[]} those after it */
  after(last) {
    return [...this.#underWay].filter(([id]) => id > last).map(([, { text }]) => text);
  }

  /** The session is over: nothing under way will have a reply. */
  fail() {
    for (const id of [...this.#underWay.keys()]) {
      this.settle(
        id,
        new StreamProblem("CONNECTION_LOST", "The connection ended before the server replied."),
      );
    }
  }
}
