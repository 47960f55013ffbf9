/**
 * The `segstream.v1` client: one session over as many sockets as it takes, and
 * a new one where the server does not have it any more.
 *
 * Rules
 *  1. At most `max_in_flight` frames are unanswered. `sendFrame` refuses beyond
 *     that and keeps nothing: by the time there is room, a newer frame exists.
 *  2. A frame is answered by its result, by `dropped`, or by an error naming
 *     it; a lost connection answers all of them.
 *  3. The next frame carries the acknowledgement; without one, a standalone
 *     `ack` follows soon, and at once when half the credit is used up.
 *  4. Any message counts as life. Silence for `heartbeat_s + timeout_s` ends the
 *     socket here, because a browser may not notice for minutes.
 *  5. The close code decides about coming back (reconnect.js).
 *  6. A request waits over a lost socket for as long as its session may be resumed:
 *     what the server received is answered by its replay, the rest is sent again.
 *  7. Control messages are numbered without gaps. One that was seen is ignored; a
 *     gap is a protocol error. Types that this file does not know are ignored.
 *  8. A close frame of ours ends the session. A socket that went silent is kept
 *     until its successor is live, because a browser cannot cut one.
 *  9. The resume token lives in memory only: a duplicated tab would copy stored
 *     tokens, and the two tabs would keep replacing each other.
 *
 * Events (`CustomEvent`, see the typedefs for `detail`)
 *   state    {StreamState}        every change of `state`
 *   welcome  {Welcome}            the session is live (again); `resumed` says which
 *   result   {StreamResult}
 *   dropped  {frames, cause}      frames the server did not answer, and why
 *   lost     {frames}             unanswered frames of a connection that ended
 *   problem  {StreamProblem}      an `error` message that answers no request
 *   mode     {mode_changed}       the mode in force changed
 *   viz      {viz_updated}        the settings in force
 *   stats    {stats}              a snapshot, asked for or subscribed
 */

import { DEFAULT_WINDOW, retryDelay, wordsFor } from "/web/reconnect.js";
import { decodeResult, encodeFrame, SUBPROTOCOL } from "/web/wire.js";

const WELCOME_DEADLINE_MS = 10_000;
const REPLY_DEADLINE_MS = 60_000;
const LAZY_ACK_MS = 60;
const CLOSE_NORMAL = 1000;
const CLOSE_PROTOCOL = 1002;
const CLOSE_LOST = 1006;
const CLOSE_SILENT = 4201;
/** A connection that held this long clears the count of failed attempts. */
const HELD_MS = 5_000;

/** @typedef {"closed" | "connecting" | "live" | "waiting"} Phase */

/**
 * @typedef {object} StreamState
 * @property {Phase} phase
 * @property {string} why in words: why there is no connection; empty before the first and when live
 * @property {number | null} code the close code that led here
 * @property {number | null} retryAt `performance.now()` of the next attempt
 */

/**
 * @typedef {object} Mode
 * @property {string} name
 * @property {string} title
 * @property {string[]} labels index = class id, 0 is the background
 * @property {Array<[number, number, number]>} palette RGB, one per class
 * @property {[number, number]} input_size height, width
 */

/**
 * @typedef {object} Welcome
 * @property {string} session
 * @property {string} [resume_token]
 * @property {boolean} resumed
 * @property {string} [why] why a session was not resumed
 * @property {number} [last_request] id of the newest request that the server had received
 * @property {number} heartbeat_s
 * @property {number} timeout_s
 * @property {number} max_in_flight
 * @property {number} max_frame_bytes
 * @property {number} max_frame_pixels
 * @property {Mode[]} modes
 * @property {string} mode
 * @property {Record<string, any>} viz
 * @property {[number, number]} retry_ms
 */

/**
 * @typedef {object} ResultMeta
 * @property {string} mode
 * @property {number} width of the payload, pixels
 * @property {number} height
 * @property {string} media_type of the payload; empty where there is none
 * @property {Record<string, number>} stages_ms queue, decode, inference, render, encode
 * @property {number} batch frames in the call that answered this one
 * @property {Array<{id: number, label: string, share: number}>} classes without the background
 */

/**
 * @typedef {object} StreamResult
 * @property {number} seq
 * @property {number} frameSeq
 * @property {ResultMeta} meta
 * @property {Uint8Array} payload
 * @property {number} bytes size of the whole message
 * @property {number | null} roundTripMs null for a result replayed by a resume
 */

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

export class Stream extends EventTarget {
  /** @type {StreamState} */
  state = { phase: "closed", why: "", code: null, retryAt: null };
  /** @type {Welcome | null} */
  welcome = null;

  #url;
  #options;
  /** @type {WebSocket | null} */
  #socket = null;
  /** Given up, and not closed yet. @type {WebSocket | null} */
  #abandoned = null;
  /** @type {{session: string, token: string} | null} */
  #resume = null;
  /** @type {[number, number]} */
  #window = DEFAULT_WINDOW;
  #failures = 0;
  #liveSince = 0;
  #heardAt = 0;
  #frameSeq = 0;
  #resultSeq = 0;
  #ackedSeq = 0;
  #controlSeq = 0;
  #requestId = 0;
  /** @type {Map<number, number>} seq → time sent */
  #unanswered = new Map();
  /** In the order of sending. @type {Map<number, {text: string, resolve: Function, reject: Function, timer: number}>} */
  #requests = new Map();
  #timers = { retry: 0, welcome: 0, ack: 0, heartbeat: 0, silence: 0 };

  /** @type {Record<string, (message: any) => void>} */
  #handlers = {
    welcome: (message) => this.#onWelcome(message),
    ping: (message) => this.#post({ type: "pong", t: message.t }),
    pong: () => {},
    dropped: (message) => {
      for (const seq of message.frames) this.#unanswered.delete(seq);
      this.#emit("dropped", message);
    },
    bye: (message) => {
      this.#window = message.retry_ms ?? this.#window;
      if (message.resume === false) this.#resume = null;
    },
    error: (message) => this.#onError(message),
    mode_changed: (message) => this.#emit("mode", message),
    viz_updated: (message) => this.#emit("viz", message),
    stats: (message) => this.#emit("stats", message),
  };

  /**
   * @param {string | URL} url the `/ws` endpoint
   * @param {{token?: string, client?: string, random?: () => number}} [options]
   *   token: the sign-in token, where the server asks for one
   */
  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = { random: Math.random, ...options };
  }

  /** Connects, unless a connection is there or on its way. */
  open() {
    if (this.#socket) return;
    clearTimeout(this.#timers.retry);
    this.#failures = 0;
    this.#connect();
  }

  /** Ends the session; nothing reconnects until `open`. */
  close() {
    clearTimeout(this.#timers.retry);
    const socket = this.#socket;
    this.#leave();
    socket?.close(CLOSE_NORMAL, "client_close");
    this.#giveUp();
    this.#enter({ phase: "closed", why: "", code: CLOSE_NORMAL, retryAt: null });
  }

  /** Cuts a waiting time short. */
  retryNow() {
    if (this.state.phase !== "waiting") return;
    clearTimeout(this.#timers.retry);
    this.#connect();
  }

  /** Whether `sendFrame` would send. */
  get hasRoom() {
    // A socket that is closing still counts as live until its close event.
    if (this.state.phase !== "live" || this.#socket.readyState !== WebSocket.OPEN) return false;
    return this.#unanswered.size < this.welcome.max_in_flight && this.#socket.bufferedAmount === 0;
  }

  /**
   * Sends one picture, or refuses: a refused frame is not kept.
   * @param {ArrayBuffer} image JPEG, PNG or WebP bytes
   * @returns {number | null} the frame's seq; null where there is no room
   */
  sendFrame(image) {
    if (!this.hasRoom) return null;
    const seq = ++this.#frameSeq;
    const now = performance.now();
    this.#socket.send(encodeFrame({ seq, ack: this.#resultSeq, capturedUs: now * 1000 }, image));
    this.#acknowledged();
    this.#unanswered.set(seq, now);
    return seq;
  }

  /** @param {string} mode @returns {Promise<any>} `mode_changed`, once the new mode serves */
  changeMode(mode) {
    return this.#request({ type: "change_mode", model_mode: mode });
  }

  /** @param {Record<string, any>} settings @returns {Promise<any>} `viz_updated`: all settings in force */
  updateViz(settings) {
    return this.#request({ type: "update_viz", settings });
  }

  /** @returns {Promise<any>} `stats` */
  getStats() {
    return this.#request({ type: "get_stats" });
  }

  /** @param {number} intervalS between snapshots; 0 ends the subscription @returns {Promise<any>} `stats` */
  subscribeStats(intervalS) {
    return this.#request({ type: "subscribe_stats", interval_s: intervalS });
  }

  // -- one socket ----------------------------------------------------------

  #connect() {
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#enter({ ...this.state, phase: "connecting", retryAt: null });
    this.#timers.welcome = setTimeout(() => this.#abandon(CLOSE_LOST), WELCOME_DEADLINE_MS);
    socket.onopen = () => this.#post(this.#hello());
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#ended(event.code);
  }

  #hello() {
    const { token, client = "studio" } = this.#options;
    const resume = this.#resume && {
      ...this.#resume,
      last_seq: this.#resultSeq,
      last_control: this.#controlSeq,
    };
    return { type: "hello", client, ...(token && { token }), ...(resume && { resume }) };
  }

  /** @param {Welcome} welcome */
  #onWelcome(welcome) {
    clearTimeout(this.#timers.welcome);
    const asked = this.#resume !== null;
    if (!welcome.resumed) {
      this.#resultSeq = this.#ackedSeq = this.#controlSeq = 0;
      this.#loseRequests();
    }
    this.welcome = welcome;
    this.#resume = welcome.resume_token ? { session: welcome.session, token: welcome.resume_token } : null;
    this.#window = welcome.retry_ms ?? DEFAULT_WINDOW;
    this.#liveSince = performance.now();
    this.#timers.heartbeat = setInterval(
      () => this.#post({ type: "ping", t: performance.now() }),
      welcome.heartbeat_s * 1000,
    );
    this.#watchForSilence();
    if (asked) this.#ackNow(); // this welcome's token is confirmed, the one before ends
    this.#sendAgain(welcome.last_request ?? 0);
    this.#closeAbandoned();
    this.#enter({ phase: "live", why: "", code: null, retryAt: null });
    this.#emit("welcome", welcome);
  }

  /** Looks again exactly when the silence, as known now, would have lasted too long. */
  #watchForSilence() {
    const limit = (this.welcome.heartbeat_s + this.welcome.timeout_s) * 1000;
    const left = this.#heardAt + limit - performance.now();
    if (left <= 0) this.#abandon(CLOSE_SILENT);
    else this.#timers.silence = setTimeout(() => this.#watchForSilence(), left);
  }

  /** What the server has not received; what it has, the replay answers. @param {number} last */
  #sendAgain(last) {
    for (const [id, { text }] of this.#requests) if (id > last) this.#socket.send(text);
  }

  /** Gives a socket up without closing it, unless there is no coming back. */
  #abandon(code) {
    const socket = this.#socket;
    this.#closeAbandoned();
    this.#abandoned = socket;
    this.#ended(code);
  }

  #closeAbandoned() {
    this.#abandoned?.close(CLOSE_NORMAL, "abandoned");
    this.#abandoned = null;
  }

  #ended(code) {
    if (this.#liveSince && performance.now() - this.#liveSince > HELD_MS) this.#failures = 0;
    this.#leave();
    const delay = retryDelay(code, this.#failures++, this.#window, this.#options.random);
    if (this.#resume === null) this.#loseRequests();
    if (delay === null) {
      this.#giveUp();
      this.#enter({ phase: "closed", why: wordsFor(code), code, retryAt: null });
      return;
    }
    this.#timers.retry = setTimeout(() => this.#connect(), delay);
    this.#enter({ phase: "waiting", why: wordsFor(code), code, retryAt: performance.now() + delay });
  }

  /** There will be no return to the session. */
  #giveUp() {
    this.#resume = null;
    this.#loseRequests();
    this.#closeAbandoned();
  }

  #loseRequests() {
    for (const id of [...this.#requests.keys()]) {
      this.#settle(
        id,
        new StreamProblem("CONNECTION_LOST", "The connection ended before the server replied."),
      );
    }
  }

  /** Detaches from the socket; frames do not wait for another. */
  #leave() {
    const { welcome, ack, silence, heartbeat } = this.#timers;
    for (const timer of [welcome, ack, silence]) clearTimeout(timer);
    clearInterval(heartbeat);
    this.#timers.ack = 0;
    if (this.#socket) this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket = null;
    this.#liveSince = 0;
    const frames = [...this.#unanswered.keys()];
    this.#unanswered.clear();
    if (frames.length) this.#emit("lost", { frames });
  }

  // -- messages ------------------------------------------------------------

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    this.#heardAt = performance.now();
    if (typeof data !== "string") return this.#onResult(data);
    const message = JSON.parse(data);
    if (!this.#isNext(message.control_seq)) return;
    if (message.reply_to !== undefined && message.type !== "error") this.#settle(message.reply_to, message);
    this.#handlers[message.type]?.(message);
  }

  /**
   * Whether a control message is to be taken.
   * @param {number | undefined} number absent where messages are not numbered
   */
  #isNext(number) {
    if (number === undefined) return true;
    if (number > this.#controlSeq + 1) this.#abandon(CLOSE_PROTOCOL);
    if (number !== this.#controlSeq + 1) return false;
    this.#controlSeq = number;
    return true;
  }

  /** @param {ArrayBuffer} data */
  #onResult(data) {
    const { seq, frameSeq, meta, payload } = decodeResult(data);
    const sentAt = this.#unanswered.get(frameSeq);
    this.#unanswered.delete(frameSeq);
    this.#resultSeq = Math.max(this.#resultSeq, seq);
    this.#ackSoon();
    const roundTripMs = sentAt === undefined ? null : this.#heardAt - sentAt;
    this.#emit("result", { seq, frameSeq, meta, payload, bytes: data.byteLength, roundTripMs });
  }

  #onError(message) {
    const problem = new StreamProblem(message.code, message.message, message.recoverable, message.frame_seq);
    this.#unanswered.delete(message.frame_seq);
    if (message.reply_to === undefined || !this.#settle(message.reply_to, problem))
      this.#emit("problem", problem);
  }

  #ackSoon() {
    const owed = this.#resultSeq - this.#ackedSeq;
    if (owed >= this.welcome.max_in_flight / 2) this.#ackNow();
    else if (!this.#timers.ack) this.#timers.ack = setTimeout(() => this.#ackNow(), LAZY_ACK_MS);
  }

  #ackNow() {
    this.#post({ type: "ack", seq: this.#resultSeq });
    this.#acknowledged();
  }

  #acknowledged() {
    clearTimeout(this.#timers.ack);
    this.#timers.ack = 0;
    this.#ackedSeq = this.#resultSeq;
  }

  /** Control messages of a connection that is going away have no one to go to. */
  #post(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #request(message) {
    if (this.state.phase !== "live") {
      return Promise.reject(new StreamProblem("NOT_CONNECTED", "There is no connection to the server."));
    }
    const id = ++this.#requestId;
    const text = JSON.stringify({ ...message, id });
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(text);
    return new Promise((resolve, reject) => {
      const late = new StreamProblem("NO_REPLY", `The server did not reply to ${message.type} in time.`);
      const timer = setTimeout(() => this.#settle(id, late), REPLY_DEADLINE_MS);
      this.#requests.set(id, { text, resolve, reject, timer });
    });
  }

  /** Settles one request; false where it is not (or no longer) waited for. */
  #settle(id, outcome) {
    const request = this.#requests.get(id);
    if (!request) return false;
    this.#requests.delete(id);
    clearTimeout(request.timer);
    if (outcome instanceof StreamProblem) request.reject(outcome);
    else request.resolve(outcome);
    return true;
  }

  /** @param {StreamState} state */
  #enter(state) {
    this.state = state;
    this.#emit("state", state);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
