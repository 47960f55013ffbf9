/**
 * One WebSocket of a stream, from its opening to its end.
 *
 * Rules
 *  1. Any message counts as life. Silence for `heartbeat_s + timeout_s` ends the
 *     connection here, because a browser may not notice for minutes; so does a welcome
 *     that does not come.
 *  2. The next frame carries the acknowledgement; without one, a standalone `ack`
 *     follows soon, and at once when half the credit is owed.
 *  3. Liveness (ping, pong) stays here; what else the server says is handed on.
 *  4. A close frame of ours ends the session. A browser cannot cut a connection, so
 *     one that is given up is only listened to no more (`leave`), until it may be closed.
 */

import { decodeResult, encodeFrame, SUBPROTOCOL } from "./wire.js";

const WELCOME_DEADLINE_MS = 10_000;
const LAZY_ACK_MS = 60;
const CLOSE_NORMAL = 1000;
const CLOSE_LOST = 1006;
const CLOSE_SILENT = 4201;

/**
 * @typedef {object} Owner who learns what comes, until `leave`
 * @property {() => Promise<object>} hello the first message; without one the connection is given up
 * @property {(message: any) => void} take
 * @property {(result: import("./wire.js").WireResult, bytes: number, roundTripMs: number | null) => void} takeResult
 * @property {(code: number) => void} closed the connection has ended
 * @property {(code: number) => void} givenUp it has not, and nothing is to be expected of it
 */

export class Link {
  #socket;
  #ledger;
  /** @type {Owner} */
  #owner;
  #heardAt = 0;
  #silenceMs = 0;
  #timers = { welcome: 0, ack: 0, heartbeat: 0, silence: 0 };

  /**
   * @param {string | URL} url
   * @param {import("./ledger.js").Ledger} ledger
   * @param {Owner} owner
   */
  constructor(url, ledger, owner) {
    this.#ledger = ledger;
    this.#owner = owner;
    this.#socket = new WebSocket(url, SUBPROTOCOL);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#greet();
    this.#socket.onmessage = (event) => this.#hear(event.data);
    this.#socket.onclose = (event) => owner.closed(event.code);
    this.#timers.welcome = setTimeout(() => owner.givenUp(CLOSE_LOST), WELCOME_DEADLINE_MS);
  }

  /** Whether a frame sent now would leave at once. */
  get isClear() {
    return this.#isOpen && this.#socket.bufferedAmount === 0;
  }

  /** A socket that is closing is not open, and its close event is still to come. */
  get #isOpen() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /**
   * The server's welcome was taken: from now on both sides show that they live.
   * @param {import("./wire.js").Welcome} welcome
   */
  live(welcome) {
    clearTimeout(this.#timers.welcome);
    const ping = () => this.#say({ type: "ping", t: performance.now() });
    this.#timers.heartbeat = setInterval(ping, welcome.heartbeat_s * 1000);
    this.#silenceMs = (welcome.heartbeat_s + welcome.timeout_s) * 1000;
    this.#watchForSilence();
  }

  /** Listens and speaks no more; the socket stays as it is. */
  leave() {
    const { welcome, ack, silence, heartbeat } = this.#timers;
    for (const timer of [welcome, ack, silence]) clearTimeout(timer);
    clearInterval(heartbeat);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
  }

  /** @param {string} reason */
  close(reason) {
    this.#socket.close(CLOSE_NORMAL, reason);
  }

  async #greet() {
    const socket = this.#socket;
    try {
      const hello = await this.#owner.hello();
      if (socket.onopen) this.#say(hello); // else it was left meanwhile
    } catch {
      if (socket.onopen) this.#owner.givenUp(CLOSE_LOST);
    }
  }

  // -- out -----------------------------------------------------------------

  /** @param {number} seq @param {number} now @param {ArrayBuffer} image */
  sendFrame(seq, now, image) {
    const header = { seq, ack: this.#acknowledge(), capturedUs: now * 1000 };
    this.#socket.send(encodeFrame(header, image));
  }

  /** Text for a connection that is going away has no one to go to. @param {string} text */
  post(text) {
    if (this.#isOpen) this.#socket.send(text);
  }

  acknowledgeNow() {
    this.#say({ type: "ack", seq: this.#acknowledge() });
  }

  #acknowledgeSoon() {
    if (this.#ledger.ackIsUrgent) this.acknowledgeNow();
    else if (!this.#timers.ack) this.#timers.ack = setTimeout(() => this.acknowledgeNow(), LAZY_ACK_MS);
  }

  #acknowledge() {
    clearTimeout(this.#timers.ack);
    this.#timers.ack = 0;
    return this.#ledger.acknowledge();
  }

  #say(message) {
    this.post(JSON.stringify(message));
  }

  // -- in ------------------------------------------------------------------

  /** @param {string | ArrayBuffer} data */
  #hear(data) {
    this.#heardAt = performance.now();
    if (typeof data !== "string") return this.#hearResult(data);
    const message = JSON.parse(data);
    if (message.type === "ping") this.#say({ type: "pong", t: message.t });
    else if (message.type !== "pong") this.#owner.take(message);
  }

  /** @param {ArrayBuffer} data */
  #hearResult(data) {
    const result = decodeResult(data);
    const sentAt = this.#ledger.onResult(result.seq, result.frameSeq);
    this.#acknowledgeSoon();
    const roundTripMs = sentAt === undefined ? null : this.#heardAt - sentAt;
    this.#owner.takeResult(result, data.byteLength, roundTripMs);
  }

  /** Looks again exactly when the silence, as known now, would have lasted too long. */
  #watchForSilence() {
    const left = this.#heardAt + this.#silenceMs - performance.now();
    if (left <= 0) this.#owner.givenUp(CLOSE_SILENT);
    else this.#timers.silence = setTimeout(() => this.#watchForSilence(), left);
  }
}
