/**
 * The controls: they show what is wanted and turn input into wishes.
 *
 * Events: `start`, `stop`, `source` (detail: kind), `file` (detail: File),
 * `captureWidth` (detail: pixels).
 */

import { rgb, titled } from "./classes.js";

const LOOKS = [
  ["filled", "Filled", '<use href="#bust" class="hue"/>'],
  ["contour", "Contour", '<use href="#bust" class="line"/>'],
  [
    "side-by-side",
    "Side by side",
    '<g transform="translate(13.8 6.4) scale(.28)"><rect y="8" width="21" height="30" rx="3" class="veil"/><rect x="23" y="8" width="21" height="30" rx="3" class="veil"/><path d="M10.5 15a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM2 38c0-7 3-11 8.5-11S19 31 19 38Z" class="plain"/><path d="M33.5 15a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM25 38c0-7 3-11 8.5-11S42 31 42 38Z" class="hue"/></g>',
  ],
  ["blend", "Blend", '<rect width="40" height="28" class="veil"/><use href="#bust" class="hue soft"/>'],
  [
    "cutout",
    "Cutout",
    '<path d="M0 0h10v7H0zM20 0h10v7H20zM10 7h10v7H10zM30 7h10v7H30zM0 14h10v7H0zM20 14h10v7H20zM10 21h10v7H10zM30 21h10v7H30z" class="veil"/><use href="#bust" class="plain"/>',
  ],
  [
    "blur",
    "Blur",
    '<circle cx="6" cy="8" r="7" class="veil"/><circle cx="34" cy="18" r="8" class="veil"/><circle cx="31" cy="3" r="5" class="veil"/><use href="#bust" class="plain"/>',
  ],
  ["replace", "Replace", '<rect width="40" height="28" class="flood"/><use href="#bust" class="plain"/>'],
];

const BACKGROUNDS = [
  [null, "Default"],
  ["#10b981", "Green"],
  ["#2563eb", "Blue"],
  ["#f59e0b", "Amber"],
  ["#e11d48", "Rose"],
  ["#f8fafc", "White"],
  ["#0b0e14", "Black"],
];

const DRAW_HINTS = {
  server: "The server draws and sends pictures. Light on this device.",
  browser: "The server sends masks of a few KB; they are drawn here, over the video at full resolution.",
};

const DEFAULT_BLUR = 12;

const byId = (id) => document.getElementById(id);

/** An element with text and attributes. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export class Panel extends EventTarget {
  #settings;
  #form = byId("panel");
  #colour = null;
  #blur = DEFAULT_BLUR;
  /** What the source goes back to when the file dialog is cancelled. */
  #chosenSource = "sample";

  /** @param {import("./settings.js").Settings} settings */
  constructor(settings) {
    super();
    this.#settings = settings;
    this.#buildLooks();
    this.#buildBackgrounds();
    this.#listen();
    settings.addEventListener("mode", () => this.#showModes());
    settings.addEventListener("change", () => this.#show());
  }

  /** @returns {"sample" | "camera" | "file"} */
  get source() {
    return this.#form.elements.source.value;
  }

  set source(kind) {
    this.#chosenSource = kind;
    this.#form.elements.source.value = kind;
  }

  /** @param {boolean} running */
  set running(running) {
    const run = byId("run");
    run.classList.toggle("stop", running);
    run.querySelector("use").setAttribute("href", running ? "#stop" : "#play");
    run.querySelector("span").textContent = running ? "Stop" : "Start";
  }

  // -- built once ------------------------------------------------------------

  #buildLooks() {
    for (const [name, title, drawing] of LOOKS) {
      const label = element("label", { class: "look" });
      label.innerHTML = `<input type="radio" name="look" value="${name}"><svg viewBox="0 0 40 28" preserveAspectRatio="xMidYMid slice" aria-hidden="true">${drawing}</svg><span>${title}</span>`;
      byId("looks").append(label);
    }
  }

  #buildBackgrounds() {
    for (const [colour, title] of BACKGROUNDS) {
      const input = element("input", {
        type: "radio",
        name: "background",
        value: colour ?? "",
        "aria-label": title,
      });
      const swatch = element("span", { class: colour ? "swatch" : "swatch none", title });
      if (colour) swatch.style.background = colour;
      byId("backgrounds").append(element("label", {}, input, swatch));
    }
    const own = element("input", {
      type: "color",
      id: "own-colour",
      value: "#8b5cf6",
      "aria-label": "Own colour",
    });
    byId("backgrounds").append(own);
  }

  // -- input -------------------------------------------------------------------

  #listen() {
    const file = byId("file");
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("change", (event) => this.#onChoice(event.target));
    this.#form.addEventListener("input", (event) => this.#onSlide(event.target));
    byId("run").addEventListener("click", () =>
      this.#emit(byId("run").classList.contains("stop") ? "stop" : "start"),
    );
    file.addEventListener("change", () => {
      this.source = "file";
      this.#emit("file", file.files[0]);
    });
    file.addEventListener("cancel", () => (this.source = this.#chosenSource));
    // A second click on "File…" changes no radio button, and yet it asks for another file.
    this.#form.querySelector('[name="source"][value="file"]').addEventListener("click", () => {
      file.value = "";
      file.click();
    });
  }

  /** @type {Record<string, (value: string) => void>} by the name or id of the control */
  #choices = {
    source: (kind) => kind !== "file" && this.#emit("source", (this.#chosenSource = kind)),
    mode: (name) => {
      byId("modes").ariaBusy = "true";
      this.#settings.wishMode(name);
    },
    look: (name) => this.#settings.wish({ visualization_mode: name, background: this.#backgroundFor(name) }),
    background: (colour) => this.#wishColour(colour || null),
    draw: (where) => this.#settings.wish({ output: where === "browser" ? "mask" : "overlay" }),
    format: (format) => this.#settings.wish({ format }),
    colormap: (colormap) => this.#settings.wish({ colormap }),
    "max-side": (side) => this.#settings.wish({ max_side: side ? Number(side) : null }),
    "capture-width": (width) => this.#emit("captureWidth", Number(width)),
  };

  /** @type {Record<string, (value: string) => void>} */
  #slides = {
    opacity: (value) => this.#settings.wish({ overlay_opacity: Number(value) }),
    quality: (value) => this.#settings.wish({ quality: Number(value) }),
    blur: (value) => {
      this.#blur = Number(value);
      this.#settings.wish({ background: this.#blur });
    },
    "own-colour": (value) => this.#wishColour(value),
  };

  #onChoice(control) {
    this.#choices[control.name || control.id]?.(control.value);
  }

  #onSlide(control) {
    this.#slides[control.id]?.(control.value);
  }

  #wishColour(colour) {
    this.#colour = colour;
    this.#settings.wish({ background: colour });
  }

  /** A look takes a colour, a radius or nothing as its background. */
  #backgroundFor(look) {
    if (look === "blur") return this.#blur;
    return look === "cutout" || look === "replace" ? this.#colour : null;
  }

  #toggleClass(id) {
    const all = this.#settings.mode.labels.map((_, each) => each).filter((each) => each > 0);
    const shown = new Set(this.#settings.view.class_filter ?? all);
    if (!shown.delete(id)) shown.add(id);
    const filter = all.filter((each) => shown.has(each));
    this.#settings.wish({
      class_filter: filter.length === 0 || filter.length === all.length ? null : filter,
    });
  }

  // -- output ------------------------------------------------------------------

  /** Cards and chips are made anew only where they differ: the keyboard's focus stays. */
  #showModes() {
    const { modes, mode } = this.#settings;
    const names = modes.map(({ name }) => name).join();
    if (byId("modes").dataset.names !== names) byId("modes").replaceChildren(...modes.map(modeCard));
    if (byId("classes").dataset.mode !== mode.name) {
      byId("classes").replaceChildren(
        ...mode.labels.map((label, id) => this.#classChip(label, id, mode.palette[id])).slice(1),
      );
    }
    byId("modes").dataset.names = names;
    byId("classes").dataset.mode = mode.name;
    byId("modes").ariaBusy = "false";
    this.#form.elements.mode.value = mode.name;
    this.#showClasses();
  }

  #classChip(label, id, colour) {
    const swatch = element("i", { "aria-hidden": "true" });
    swatch.style.background = rgb(colour);
    const chip = element("button", { type: "button", class: "chip", "data-id": id }, swatch, titled(label));
    chip.addEventListener("click", () => this.#toggleClass(id));
    return chip;
  }

  #showClasses() {
    const filter = this.#settings.view.class_filter;
    for (const chip of byId("classes").children) {
      chip.setAttribute("aria-pressed", String(!filter || filter.includes(Number(chip.dataset.id))));
    }
  }

  #show() {
    const { view } = this.#settings;
    const look = view.visualization_mode;
    if (typeof view.background === "number") this.#blur = view.background;
    if (typeof view.background === "string") this.#colour = view.background;
    this.#form.elements.look.value = look;
    this.#form.elements.draw.value = view.output === "mask" ? "browser" : "server";
    this.#form.elements.background.value = this.#colour ?? "";
    byId("draw-hint").textContent = DRAW_HINTS[this.#form.elements.draw.value];
    showSlider("opacity", view.overlay_opacity, `${Math.round(view.overlay_opacity * 100)} %`);
    showSlider("blur", this.#blur, `${this.#blur} px`);
    showSlider("quality", view.quality, String(view.quality));
    byId("format").value = view.format;
    byId("colormap").value = view.colormap;
    byId("max-side").value = view.max_side ?? "";
    for (const part of this.#form.querySelectorAll("[data-for]")) {
      part.hidden = !part.dataset.for.split(" ").includes(look);
    }
    this.#showClasses();
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function modeCard({ name, title, labels, palette }) {
  const input = element("input", { type: "radio", name: "mode", value: name });
  const dots = palette.slice(1).map((colour) => {
    const dot = element("i");
    dot.style.background = rgb(colour);
    return dot;
  });
  const count = labels.length - 1;
  const about = element("small", {}, count === 1 ? "1 class" : `${count} classes`);
  const swatches = element("span", { class: "dots", "aria-hidden": "true" }, ...dots);
  return element(
    "label",
    { class: "mode" },
    input,
    element("b", {}, title),
    element("span", { class: "mode-about" }, about, swatches),
  );
}

function showSlider(id, value, words) {
  byId(id).value = value;
  byId(`${id}-out`).textContent = words;
  byId(id).style.setProperty("--part", (value - byId(id).min) / (byId(id).max - byId(id).min));
}
