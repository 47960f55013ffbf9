/** A small line of the recent past, drawn on a canvas. Decoration: the number beside it is the content. */

const POINTS = 48;
const LINE_WIDTH = 1.5;

export class Sparkline {
  #context;
  #colour;
  /** @type {number[]} */
  #values = [];

  /** @param {HTMLCanvasElement} canvas sized by the style sheet @param {string} colour #rrggbb */
  constructor(canvas, colour) {
    this.#context = canvas.getContext("2d");
    this.#colour = colour;
  }

  /** Adds the newest value and draws; the scale follows the highest value on show. */
  push(value) {
    this.#values = [...this.#values.slice(1 - POINTS), value];
    this.#draw();
  }

  #draw() {
    const c = this.#context;
    const { canvas } = c;
    const ratio = devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    c.scale(ratio, ratio);
    const top = Math.max(...this.#values, 1) * 1.15;
    const x = (i) => width - ((this.#values.length - 1 - i) / (POINTS - 1)) * width;
    const y = (value) => height - LINE_WIDTH - (value / top) * (height - 2 * LINE_WIDTH);
    const line = new Path2D();
    this.#values.forEach((value, i) => line.lineTo(x(i), y(value)));
    const area = new Path2D(line);
    area.lineTo(width, height);
    area.lineTo(x(0), height);
    const shade = c.createLinearGradient(0, 0, 0, height);
    shade.addColorStop(0, `${this.#colour}38`);
    shade.addColorStop(1, `${this.#colour}00`);
    c.fillStyle = shade;
    c.fill(area);
    Object.assign(c, { strokeStyle: this.#colour, lineWidth: LINE_WIDTH, lineJoin: "round" });
    c.stroke(line);
  }
}
