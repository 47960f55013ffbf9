/** The strip below the stage: the counts and the scene, written into the page twice a second. */

import { rgb, titled } from "./classes.js";
import { Sparkline } from "./sparkline.js";

const STAGE_NAMES = {
  queue: "Queue",
  decode: "Decode",
  inference: "Inference",
  render: "Render",
  encode: "Encode",
};

const byId = (id) => document.getElementById(id);
const rounded = (value, digits = 0) => (value ? value.toFixed(digits) : "–");

/** @typedef {import("./tally.js").Reading} Reading */

export class Readings {
  #fpsLine = new Sparkline(byId("fps-line"), "#7be3c4");
  #tripLine = new Sparkline(byId("trip-line"), "#8fb4ff");
  /** @type {Map<string, {bar: HTMLElement, ms: HTMLElement}>} */
  #stages = new Map();
  /** @type {Map<number, {row: HTMLElement, bar: HTMLElement, share: HTMLElement}>} */
  #classes = new Map();
  #modeName = "";

  constructor() {
    for (const [stage, name] of Object.entries(STAGE_NAMES)) {
      const bar = Object.assign(document.createElement("i"), { className: stage });
      const ms = document.createElement("b");
      const key = Object.assign(document.createElement("li"), { className: stage });
      key.append(name, ms);
      byId("stages").append(bar);
      byId("stage-key").append(key);
      this.#stages.set(stage, { bar, ms });
    }
  }

  /** @param {Reading} reading @param {boolean} running sparklines move only while frames do */
  show(reading, running) {
    byId("fps-in").textContent = rounded(reading.fpsIn, 1);
    byId("fps-out").textContent = rounded(reading.fpsOut, 1);
    byId("p50").textContent = rounded(reading.p50);
    byId("p95").textContent = rounded(reading.p95);
    byId("server-ms").textContent = rounded(reading.serverMs, 1);
    byId("batch").textContent = rounded(reading.batch, 1);
    byId("up-kb").textContent = rounded(reading.upKB, 1);
    byId("down-kb").textContent = rounded(reading.downKB, 1);
    byId("dropped").textContent = String(reading.dropped);
    byId("causes").textContent = reading.causes
      .map(([cause, count]) => `${count} ${cause.replaceAll("_", " ")}`)
      .join(", ");
    for (const [stage, ms] of reading.stages) {
      this.#stages.get(stage).bar.style.flexGrow = String(ms);
      this.#stages.get(stage).ms.textContent = rounded(ms, 1);
    }
    if (running) {
      this.#fpsLine.push(reading.fpsIn);
      this.#tripLine.push(reading.p50);
    }
  }

  /**
   * The share of each class in the latest result.
   * @param {import("./wire.js").Mode} mode
   * @param {Array<{id: number, share: number}>} shares
   */
  showShares(mode, shares) {
    if (mode.name !== this.#modeName) this.#layOutClasses(mode);
    const byClass = new Map(shares.map(({ id, share }) => [id, share]));
    for (const [id, { row, bar, share }] of this.#classes) {
      const part = byClass.get(id) ?? 0;
      bar.style.setProperty("--part", String(part));
      share.textContent = `${(part * 100).toFixed(part > 0 && part < 0.1 ? 1 : 0)} %`;
      row.classList.toggle("absent", part === 0);
    }
  }

  /** @param {string} facts statistics of the scene in words */
  showFacts(facts) {
    byId("facts").textContent = facts;
  }

  #layOutClasses(mode) {
    this.#modeName = mode.name;
    this.#classes.clear();
    const rows = mode.labels.slice(1).map((label, i) => {
      const row = document.createElement("li");
      const name = Object.assign(document.createElement("span"), { textContent: titled(label) });
      const bar = Object.assign(document.createElement("i"), { ariaHidden: "true" });
      const share = document.createElement("b");
      bar.style.setProperty("--hue", rgb(mode.palette[i + 1]));
      row.append(name, bar, share);
      this.#classes.set(i + 1, { row, bar, share });
      return row;
    });
    byId("shares").replaceChildren(...rows);
  }
}
