/**
 * Who may come back, and when: the close code decides.
 *
 *   stop     the server meant it, or coming back would fail in the same way
 *   backoff  come back, with full jitter under a cap that doubles from 0.5 s to 30 s
 *   window   come back inside the window that `bye` gave; if that fails, back off
 *   now      come back at once; if that fails, back off
 *
 * Ranges carry the policy for codes this file has never heard of:
 * 4000-4099 stop, 4100-4199 back off, 4200-4299 now. client/reconnect.py is the same
 * table, and a test compares the two.
 */

/** @typedef {"stop" | "backoff" | "window" | "now"} Policy */
/** @typedef {[number, number]} RetryWindow milliseconds, both ends included */

const FIRST_CAP_MS = 500;
const LAST_CAP_MS = 30_000;
const OVERLOADED_FLOOR_MS = 1_000;

/** A window for the time before any server has given one. @type {RetryWindow} */
export const DEFAULT_WINDOW = [500, 30_000];

/** @type {Record<number, {policy: Policy, words: string}>} */
const CLOSES = {
  1000: { policy: "stop", words: "Disconnected." },
  1001: { policy: "backoff", words: "The server went away." },
  1002: { policy: "stop", words: "Server and page do not speak the same protocol. Reload the page." },
  1003: { policy: "stop", words: "The server does not accept this kind of message. Reload the page." },
  1005: { policy: "backoff", words: "The connection was lost." },
  1006: { policy: "backoff", words: "The connection was lost." },
  1007: { policy: "stop", words: "The server could not read a message. Reload the page." },
  1008: { policy: "stop", words: "The server refused this connection because of its traffic." },
  1009: { policy: "stop", words: "A frame was too large. Choose a smaller capture width." },
  1011: { policy: "backoff", words: "The server had a fault." },
  1012: { policy: "window", words: "The server is restarting." },
  1013: { policy: "backoff", words: "The server is full at the moment." },
  3000: { policy: "stop", words: "The server did not accept your sign-in." },
  4000: { policy: "stop", words: "Nothing was sent for a while, so the server closed the connection." },
  4001: { policy: "stop", words: "The greeting reached the server too late." },
  4002: { policy: "stop", words: "This session was opened in another window." },
  4101: { policy: "backoff", words: "This device could not keep up with the results." },
  4201: { policy: "now", words: "The connection went silent." },
  4202: { policy: "now", words: "Your sign-in ran out." },
};

/** @type {Array<[number, number, Policy]>} */
const RANGES = [
  [4000, 4099, "stop"],
  [4100, 4199, "backoff"],
  [4200, 4299, "now"],
];

/**
 * What a close code asks of the client.
 * @param {number} code
 * @returns {Policy}
 */
export function policyOf(code) {
  if (code in CLOSES) return CLOSES[code].policy;
  const range = RANGES.find(([first, last]) => code >= first && code <= last);
  return range ? range[2] : "backoff";
}

/**
 * A close code in words for the person at the screen.
 * @param {number} code
 * @returns {string}
 */
export function wordsFor(code) {
  return CLOSES[code]?.words ?? `The connection closed with code ${code}.`;
}

/**
 * How long to wait before the next attempt.
 * @param {number} code the close code
 * @param {number} failures attempts since the last connection that held
 * @param {RetryWindow} window the server's window
 * @param {() => number} random uniform in [0, 1)
 * @returns {number | null} milliseconds; null where the code forbids coming back
 */
export function retryDelay(code, failures, window, random) {
  const policy = policyOf(code);
  if (policy === "stop") return null;
  const [earliest, latest] = window;
  if (policy === "now" && failures === 0) return 0;
  if (policy === "window" && failures === 0) return earliest + random() * (latest - earliest);
  const floor = code === 1013 ? OVERLOADED_FLOOR_MS : 0;
  return floor + random() * Math.min(LAST_CAP_MS, FIRST_CAP_MS * 2 ** failures);
}
