/** What the page tells the person: the connection's state, and errors in words. */

const TOAST_MS = 8_000;
const RETURN_MS = 4_000;
const MAX_TOASTS = 3;

const byId = (id) => document.getElementById(id);

/** @typedef {import("./stream.js").StreamState} StreamState */

/** The state's name for the page, and what the pill says. */
const PHASES = {
  connecting: { name: "connecting", words: () => "Connecting" },
  live: { name: "live", words: (running) => (running ? "Live" : "Connected") },
  waiting: { name: "reconnecting", words: () => "Reconnecting" },
  closed: { name: "closed", words: () => "Closed" },
};

export class Notices {
  /** @type {StreamState} */
  #state = { phase: "closed", why: "", code: null, retryAt: null };
  #running = false;

  /** @param {StreamState} state @param {boolean} running whether frames are being sent */
  showState(state, running) {
    const changed = state.phase !== this.#state.phase || running !== this.#running;
    this.#state = state;
    this.#running = running;
    const { name, words } = this.#phase;
    document.body.dataset.state = name;
    document.body.dataset.running = String(running);
    byId("retry").hidden = state.phase !== "waiting" && (state.phase !== "closed" || !state.why);
    byId("banner").hidden = !state.why;
    byId("banner").textContent = state.why;
    if (changed) byId("announcer").textContent = `${words(running)}. ${state.why}`;
    this.tick();
  }

  /** An attempt to come back is still the absence that it ends. */
  get #phase() {
    const { phase, why } = this.#state;
    return PHASES[phase === "connecting" && why ? "waiting" : phase];
  }

  /**
   * Says for a moment that the connection is back.
   * @param {boolean} resumed whether the session went on, or a new one took its place
   */
  showReturn(resumed) {
    const words = resumed
      ? "Connected again: the session goes on."
      : "Connected again, in a new session with your settings.";
    const banner = byId("banner");
    Object.assign(banner, { textContent: words, hidden: false });
    byId("announcer").textContent = words;
    setTimeout(() => (banner.hidden ||= banner.textContent === words), RETURN_MS);
  }

  /** The countdown; silent for screen readers, which hear the state once. */
  tick() {
    const { retryAt } = this.#state;
    const seconds = retryAt === null ? 0 : Math.ceil((retryAt - performance.now()) / 1000);
    const countdown = seconds > 0 ? ` in ${seconds} s` : "";
    byId("pill-text").textContent = this.#phase.words(this.#running) + countdown;
  }

  /**
   * A message that goes away by itself; the same one again only stays longer.
   * @param {string} title a code of the protocol, or the place of the problem
   * @param {string} message
   */
  toast(title, message) {
    const list = byId("toasts");
    const old = [...list.children].find((each) => each.dataset.text === title + message);
    old?.remove();
    const toast = document.createElement("div");
    toast.className = "toast";
    toast.dataset.text = title + message;
    const close = Object.assign(document.createElement("button"), {
      type: "button",
      textContent: "×",
      ariaLabel: "Dismiss",
    });
    close.addEventListener("click", () => toast.remove());
    const code = Object.assign(document.createElement("code"), { textContent: title });
    const text = Object.assign(document.createElement("p"), { textContent: message });
    toast.append(code, text, close);
    list.append(toast);
    while (list.children.length > MAX_TOASTS) list.firstElementChild.remove();
    setTimeout(() => toast.remove(), TOAST_MS);
  }
}
