/**
 * The `segstream.v1` client: one session over as many connections (link.js) as it
 * takes, and a new one where the server does not have it any more.
 *
 * Rules
 *  1. At most `max_in_flight` frames are unanswered (ledger.js). `sendFrame` refuses
 *     beyond that and keeps nothing: by the time there is room, a newer frame exists.
 *  2. The close code decides about coming back (reconnect.js).
 *  3. A request waits over a lost connection for as long as its session may be resumed
 *     (requests.js).
 *  4. Control messages are numbered without gaps. One that was seen is ignored; a
 *     gap is a protocol error. Types that this file does not know are ignored.
 *  5. A connection that was given up is kept until its successor is live: to close it
 *     would end the session.
 *  6. The resume token lives in memory only: a duplicated tab would copy stored
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

import { Ledger } from "./ledger.js";
import { Link } from "./link.js";
import { DEFAULT_WINDOW, retryDelay, wordsFor } from "./reconnect.js";
import { Requests, StreamProblem } from "./requests.js";

const CLOSE_NORMAL = 1000;
const CLOSE_PROTOCOL = 1002;
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

/** @typedef {import("./wire.js").Welcome} Welcome */
/** @typedef {import("./wire.js").ResultMeta} ResultMeta */

/**
 * @typedef {object} StreamResult
 * @property {number} seq
 * @property {number} frameSeq
 * @property {ResultMeta} meta
 * @property {Uint8Array} payload
 * @property {number} bytes size of the whole message
 * @property {number | null} roundTripMs null for a result replayed by a resume
 */

export class Stream extends EventTarget {
  /** @type {StreamState} */
  state = { phase: "closed", why: "", code: null, retryAt: null };
  /** @type {Welcome | null} */
  welcome = null;

  #url;
  #options;
  #ledger = new Ledger();
  #requests = new Requests();
  /** @type {Link | null} */
  #link = null;
  /** Given up, and not closed yet. @type {Link | null} */
  #abandoned = null;
  /** @type {{session: string, token: string} | null} */
  #resume = null;
  /** @type {[number, number]} */
  #window = DEFAULT_WINDOW;
  #failures = 0;
  #liveSince = 0;
  #controlSeq = 0;
  #retryTimer = 0;

  /** @type {Record<string, (message: any) => void>} */
  #handlers = {
    welcome: (message) => this.#onWelcome(message),
    dropped: (message) => {
      this.#ledger.onUnserved(message.frames);
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
   * @param {{token?: () => Promise<string | null>, client?: string, random?: () => number}} [options]
   *   token: asked before each hello for what signs in, a token or a ticket; null: nothing does
   */
  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = { random: Math.random, ...options };
  }

  /** Connects, unless a connection is there or on its way. */
  open() {
    if (this.#link) return;
    clearTimeout(this.#retryTimer);
    this.#failures = 0;
    this.#connect();
  }

  /** Ends the session; nothing reconnects until `open`. */
  close() {
    clearTimeout(this.#retryTimer);
    const link = this.#link;
    this.#leave();
    link?.close("client_close");
    this.#giveUp();
    this.#enter({ phase: "closed", why: "", code: CLOSE_NORMAL, retryAt: null });
  }

  /** Cuts a waiting time short. */
  retryNow() {
    if (this.state.phase !== "waiting") return;
    clearTimeout(this.#retryTimer);
    this.#connect();
  }

  /** Whether `sendFrame` would send. */
  get hasRoom() {
    return this.state.phase === "live" && this.#link.isClear && this.#ledger.hasRoom;
  }

  /**
   * Sends one picture, or refuses: a refused frame is not kept.
   * @param {ArrayBuffer} image JPEG, PNG or WebP bytes
   * @returns {number | null} the frame's seq; null where there is no room
   */
  sendFrame(image) {
    if (!this.hasRoom) return null;
    const now = performance.now();
    const seq = this.#ledger.open(now);
    this.#link.sendFrame(seq, now, image);
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

  // -- connections ---------------------------------------------------------

  #connect() {
    this.#link = new Link(this.#url, this.#ledger, {
      hello: () => this.#hello(),
      take: (message) => this.#take(message),
      takeResult: ({ seq, frameSeq, meta, payload }, bytes, roundTripMs) =>
        this.#emit("result", { seq, frameSeq, meta, payload, bytes, roundTripMs }),
      closed: (code) => this.#ended(code),
      givenUp: (code) => this.#abandon(code),
    });
    this.#enter({ ...this.state, phase: "connecting", retryAt: null });
  }

  async #hello() {
    const { client = "studio" } = this.#options;
    const token = await this.#options.token?.();
    const resume = this.#resume && {
      ...this.#resume,
      last_seq: this.#ledger.received,
      last_control: this.#controlSeq,
    };
    return { type: "hello", client, ...(token && { token }), ...(resume && { resume }) };
  }

  /** @param {Welcome} welcome */
  #onWelcome(welcome) {
    const asked = this.#resume !== null;
    if (!welcome.resumed) {
      this.#ledger.restart();
      this.#controlSeq = 0;
      this.#requests.fail();
    }
    this.#ledger.limit = welcome.max_in_flight;
    this.welcome = welcome;
    this.#resume = welcome.resume_token ? { session: welcome.session, token: welcome.resume_token } : null;
    this.#window = welcome.retry_ms ?? DEFAULT_WINDOW;
    this.#liveSince = performance.now();
    this.#link.live(welcome);
    if (asked) this.#link.acknowledgeNow(); // this welcome's token is confirmed, the one before ends
    // What the server has not received; what it has, the replay answers.
    for (const text of this.#requests.after(welcome.last_request ?? 0)) this.#link.post(text);
    this.#closeAbandoned();
    this.#enter({ phase: "live", why: "", code: null, retryAt: null });
    this.#emit("welcome", welcome);
  }

  /** Gives a connection up without closing it, unless there is no coming back. */
  #abandon(code) {
    this.#closeAbandoned();
    this.#abandoned = this.#link;
    this.#ended(code);
  }

  #closeAbandoned() {
    this.#abandoned?.close("abandoned");
    this.#abandoned = null;
  }

  #ended(code) {
    if (this.#liveSince && performance.now() - this.#liveSince > HELD_MS) this.#failures = 0;
    this.#leave();
    const delay = retryDelay(code, this.#failures++, this.#window, this.#options.random);
    if (this.#resume === null) this.#requests.fail();
    if (delay === null) {
      this.#giveUp();
      this.#enter({ phase: "closed", why: wordsFor(code), code, retryAt: null });
      return;
    }
    this.#retryTimer = setTimeout(() => this.#connect(), delay);
    this.#enter({ phase: "waiting", why: wordsFor(code), code, retryAt: performance.now() + delay });
  }

  /** There will be no return to the session. */
  #giveUp() {
    this.#resume = null;
    this.#requests.fail();
    this.#closeAbandoned();
  }

  /** Leaves the connection; frames do not wait for another. */
  #leave() {
    this.#link?.leave();
    this.#link = null;
    this.#liveSince = 0;
    const frames = this.#ledger.onClosed();
    if (frames.length) this.#emit("lost", { frames });
  }

  // -- messages ------------------------------------------------------------

  #take(message) {
    if (!this.#isNext(message.control_seq)) return;
    if (message.reply_to !== undefined && message.type !== "error")
      this.#requests.settle(message.reply_to, message);
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

  #onError(message) {
    const problem = new StreamProblem(message.code, message.message, message.recoverable, message.frame_seq);
    this.#ledger.onUnserved([message.frame_seq]);
    if (message.reply_to === undefined || !this.#requests.settle(message.reply_to, problem))
      this.#emit("problem", problem);
  }

  #request(message) {
    if (this.state.phase !== "live") {
      return Promise.reject(new StreamProblem("NOT_CONNECTED", "There is no connection to the server."));
    }
    const { text, reply } = this.#requests.open(message);
    this.#link.post(text);
    return reply;
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
