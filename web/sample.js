/**
 * The sample clip: a still portrait made to move, drawn live.
 *
 * The person is one cut-out picture (`sample/astronaut.webp`: Eileen Collins,
 * NASA, public domain) over a drifting sky, under a slow pan and zoom. It is a
 * function of time alone, needs no codec, and weighs 42 KB.
 */

const WIDTH = 960;
const HEIGHT = 540;
const STAR_COUNT = 110;
const GLOW = "#7be3c4";
const TURN = 2 * Math.PI;

/** Positions that look random and are the same every time (R2 sequence). */
const STARS = Array.from({ length: STAR_COUNT }, (_, i) => ({
  x: (i * 0.7548776662) % 1,
  y: (i * 0.569840291) % 1,
  depth: 0.25 + 0.75 * ((i * 0.618034) % 1),
}));

export class SampleClip {
  canvas = document.createElement("canvas");
  #context;
  /** @type {ImageBitmap} */
  #person;
  #pace;
  /** The person's outline in one colour, for the poster. */
  #glow = new OffscreenCanvas(512, 512);

  /** @param {ImageBitmap} person @param {number} pace 1 is normal speed */
  constructor(person, pace) {
    this.canvas.width = WIDTH;
    this.canvas.height = HEIGHT;
    this.#context = this.canvas.getContext("2d", { alpha: false });
    this.#person = person;
    this.#pace = pace;
    const c = this.#glow.getContext("2d");
    c.drawImage(person, 0, 0);
    c.globalCompositeOperation = "source-in";
    c.fillStyle = GLOW;
    c.fillRect(0, 0, 512, 512);
  }

  /** Loads the picture; where less motion is preferred, the clip runs at a third of its pace. */
  static async load() {
    const response = await fetch(new URL("sample/astronaut.webp", import.meta.url));
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    return new SampleClip(await createImageBitmap(await response.blob()), calm ? 1 / 3 : 1);
  }

  /** Draws the clip as it is at `ms`. */
  draw(ms) {
    const t = (ms / 1000) * this.#pace;
    this.#drawSky(t);
    this.#drawPlanet(t);
    this.#drawPerson(t);
  }

  /** Draws a still of the clip in which the person is traced, as a mask would be. */
  drawPoster() {
    this.#drawSky(0);
    this.#drawPlanet(0);
    const side = HEIGHT * 0.95;
    for (let turn = 0; turn < TURN; turn += TURN / 24) {
      const [x, y] = [(WIDTH - side) / 2 + 3 * Math.cos(turn), HEIGHT - side + 9 + 3 * Math.sin(turn)];
      this.#context.drawImage(this.#glow, x, y, side, side);
    }
    this.#drawPerson(0);
  }

  #drawSky(t) {
    const c = this.#context;
    const sky = c.createLinearGradient(0, 0, WIDTH * 0.4, HEIGHT);
    sky.addColorStop(0, "#0a1024");
    sky.addColorStop(0.55, "#1b2c55");
    sky.addColorStop(1, "#54507e");
    c.fillStyle = sky;
    c.fillRect(0, 0, WIDTH, HEIGHT);
    c.fillStyle = "#e8eeff";
    for (const { x, y, depth } of STARS) {
      const drift = (x * WIDTH - t * 14 * depth) % WIDTH;
      c.globalAlpha = depth * (0.55 + 0.25 * Math.sin(t * 1.3 + x * 40));
      c.beginPath();
      c.arc((drift + WIDTH) % WIDTH, y * HEIGHT, 0.5 + depth * 1.1, 0, TURN);
      c.fill();
    }
    c.globalAlpha = 1;
  }

  #drawPlanet(t) {
    const c = this.#context;
    const [x, y, r] = [WIDTH * 0.66 + 50 * Math.sin(t / 9), HEIGHT * 1.62, HEIGHT * 1.12];
    const air = c.createRadialGradient(x, y, r * 0.97, x, y, r * 1.24);
    air.addColorStop(0, "rgba(150, 205, 255, 0.75)");
    air.addColorStop(0.25, "rgba(110, 160, 255, 0.28)");
    air.addColorStop(1, "rgba(110, 160, 255, 0)");
    c.fillStyle = air;
    c.fillRect(0, 0, WIDTH, HEIGHT);
    const ground = c.createRadialGradient(x - r * 0.3, y - r * 0.7, r * 0.1, x, y, r);
    ground.addColorStop(0, "#6fa3d8");
    ground.addColorStop(0.5, "#2e5d9b");
    ground.addColorStop(1, "#173a70");
    c.fillStyle = ground;
    c.beginPath();
    c.arc(x, y, r, 0, TURN);
    c.fill();
  }

  /** The lower edge of the picture stays below the frame, so the body is never cut in view. */
  #drawPerson(t) {
    const side = HEIGHT * (0.95 + 0.06 * Math.sin(t / 3.7));
    const x = (WIDTH - side) / 2 + 70 * Math.sin(t / 2.9);
    const y = HEIGHT - side + 9 + 8 * Math.sin(t / 2.1);
    this.#context.drawImage(this.#person, x, y, side, side);
  }
}
