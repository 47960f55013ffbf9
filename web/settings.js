/**
 * What the person wants, kept in step with what the server has in force.
 *
 * Wishes apply here at once. They travel in one `update_viz` at a time: what
 * changes meanwhile is sent, in one piece, when the reply is there. A refusal
 * brings back what is in force. After a reconnect the view is what the server has
 * in force, under the wishes that it has not confirmed; where the session is a new
 * one, all that was wished before is asked for again: the mode first, because it
 * decides which classes a filter may name.
 *
 * Events: `change` (detail: the view), `mode` (detail: the Mode), `refused` (detail: StreamProblem).
 */

/** @typedef {import("./stream.js").Stream} Stream */
/** @typedef {import("./wire.js").Mode} Mode */

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

export class Settings extends EventTarget {
  /** @type {Record<string, any>} the view wanted */
  view = {};
  /** @type {Mode | null} the mode in force */
  mode = null;
  /** @type {Mode[]} */
  modes = [];

  #stream;
  /** @type {Record<string, any>} */
  #inForce = {};
  /** @type {string | null} */
  #wantedMode;
  #wishes;
  #sending = false;
  /** The mode whose change is under way. @type {string | null} */
  #askedMode = null;
  /** Counts the changes of mode asked for, so that only the newest has a say. */
  #modeTurn = 0;
  #welcomes = 0;
  /** While not 0 the mode of a new session is not the wanted one yet. */
  #restoring = 0;
  /** False until the first welcome: only then is there a view to lay wishes over. */
  #known = false;

  /**
   * @param {Stream} stream
   * @param {{mode?: string | null, view?: Record<string, any>}} wishes before any connection
   */
  constructor(stream, wishes) {
    super();
    this.#stream = stream;
    this.#wantedMode = wishes.mode ?? null;
    this.#wishes = wishes.view ?? {};
    stream.addEventListener("welcome", ({ detail }) => this.#onWelcome(detail));
    stream.addEventListener("mode", ({ detail }) => this.#onMode(detail.model_mode));
    stream.addEventListener("viz", ({ detail }) => (this.#inForce = detail.settings));
  }

  /** @param {Record<string, any>} changes of the view */
  wish(changes) {
    this.view = { ...this.view, ...changes };
    this.#emit("change", this.view);
    this.#flush();
  }

  /** Asks for a mode; `mode` follows when it serves. @param {string} name */
  async wishMode(name) {
    this.#wantedMode = name;
    if (this.#stream.state.phase !== "live" || name === (this.#askedMode ?? this.mode?.name)) return;
    const [turn, welcomes] = [++this.#modeTurn, this.#welcomes];
    this.#askedMode = name;
    const problem = await this.#stream.changeMode(name).then(
      () => null,
      (problem) => problem,
    );
    // A wish that a newer one has overtaken is refused too, and that is no news.
    if (turn !== this.#modeTurn) return;
    this.#askedMode = null;
    if (!problem || problem.code === "CONNECTION_LOST") return;
    // A lost connection cuts a change of mode short: that is no refusal.
    if (welcomes !== this.#welcomes) return this.wishMode(name);
    this.#wantedMode = this.mode.name;
    this.#emit("mode", this.mode);
    this.#emit("refused", problem);
  }

  #onWelcome(welcome) {
    this.#welcomes += 1;
    this.modes = welcome.modes;
    this.view = this.#viewAfter(welcome);
    this.#inForce = welcome.viz;
    if (welcome.resumed) {
      if (this.#wantedMode === this.mode?.name) this.#wantedMode = welcome.mode;
      this.#onMode(welcome.mode);
      if (this.#wantedMode) this.wishMode(this.#wantedMode);
    } else {
      this.#wantedMode ??= this.mode?.name ?? null;
      this.#askedMode = null;
      this.#modeTurn += 1;
      this.#restoreMode(welcome.mode);
    }
    this.#known = true;
    this.#emit("change", this.view);
    this.#flush();
  }

  #viewAfter(welcome) {
    if (!this.#known) return { ...welcome.viz, ...this.#wishes };
    return welcome.resumed ? { ...welcome.viz, ...this.#unconfirmed() } : this.view;
  }

  /** @param {string} name the mode of the new session */
  async #restoreMode(name) {
    this.#restoring += 1;
    this.#onMode(name);
    if (this.#wantedMode) await this.wishMode(this.#wantedMode);
    this.#restoring -= 1;
    if (this.#fitFilter()) this.#emit("change", this.view);
    this.#flush();
  }

  #onMode(name) {
    const changed = name !== this.mode?.name;
    this.mode = this.modes.find((mode) => mode.name === name) ?? this.modes[0];
    if (changed && this.#fitFilter()) this.#emit("change", this.view);
    this.#emit("mode", this.mode);
  }

  /** Classes that the mode lacks leave the filter, as they do on the server. */
  #fitFilter() {
    const filter = this.#restoring ? null : this.view.class_filter;
    const kept = filter?.filter((id) => id < this.mode.labels.length);
    if (!filter || kept.length === filter.length) return false;
    this.view = { ...this.view, class_filter: kept.length ? kept : null };
    return true;
  }

  /** @returns {Record<string, any>} what is wished and not in force */
  #unconfirmed() {
    return Object.fromEntries(
      Object.entries(this.view).filter(([key, value]) => !same(value, this.#inForce[key])),
    );
  }

  async #flush() {
    const settings = this.#unconfirmed();
    const isWhole = this.#restoring === 0;
    if (!isWhole) delete settings.class_filter;
    if (this.#sending || this.#stream.state.phase !== "live" || !Object.keys(settings).length) return;
    this.#sending = true;
    const wanted = this.view;
    try {
      this.#inForce = (await this.#stream.updateViz(settings)).settings;
      // The server may spell a value differently; its spelling wins unless the wish has moved on.
      if (isWhole && this.view === wanted) this.view = { ...this.#inForce };
    } catch (problem) {
      if (problem.code !== "CONNECTION_LOST") this.#refuse(problem);
    } finally {
      this.#sending = false;
    }
    this.#flush();
  }

  #refuse(problem) {
    this.view = { ...this.#inForce };
    this.#emit("change", this.view);
    this.#emit("refused", problem);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
