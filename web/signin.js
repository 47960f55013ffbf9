/**
 * Signing in, where the server wants it: the person's token, kept for this tab.
 *
 * A page can put no header on a WebSocket, and a token has no place in an address. So before each
 * connection it is exchanged for a ticket, over HTTP, which is good once and for half a minute; the
 * token itself never goes the way of the frames. One that is not accepted any more is forgotten.
 */

const KEY = "segstream.token";
const CLOSE_REJECTED = 3000;

const byId = (id) => document.getElementById(id);

export class SignIn {
  #url;
  #storage;
  #retry;
  #tried = false;

  /**
   * @param {string | URL} url where tickets are given
   * @param {() => void} retry called when there is a new token
   * @param {Storage} [storage]
   */
  constructor(url, retry, storage = sessionStorage) {
    this.#url = url;
    this.#retry = retry;
    this.#storage = storage;
    byId("sign-in-form").addEventListener("submit", (event) => this.#submit(event));
  }

  /** @returns {Promise<string | null>} a ticket; null where there is no token, or none any more */
  async ticket() {
    const token = this.#storage.getItem(KEY);
    if (token === null) return null;
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(this.#url, { method: "POST", headers, credentials: "omit" });
    if (response.status === 401) {
      this.#storage.removeItem(KEY);
      return null;
    }
    if (!response.ok) throw new Error(`no ticket: HTTP status ${response.status}`);
    return (await response.json()).ticket;
  }

  /**
   * Asks the person, where the connection closed because nobody was signed in.
   * @param {import("./stream.js").StreamState} state
   */
  showState({ phase, code }) {
    const dialog = byId("sign-in");
    if (phase === "live") this.#tried = false;
    if (phase !== "closed" || code !== CLOSE_REJECTED) return dialog.close();
    byId("sign-in-why").textContent = this.#tried
      ? "The server did not accept this token."
      : "This server asks who you are.";
    if (!dialog.open) dialog.showModal();
  }

  #submit(event) {
    event.preventDefault();
    const field = byId("token");
    const token = field.value.trim();
    field.value = "";
    if (!/^[\x21-\x7e]+$/.test(token)) return;
    this.#storage.setItem(KEY, token);
    this.#tried = true;
    byId("sign-in").close();
    this.#retry();
  }
}
