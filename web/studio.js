/**
 * The studio: wires source → capture → stream → stage, and the controls to all of them.
 *
 * The page connects when it is loaded, because the server says which modes there
 * are; frames go out only while a source runs. Links may carry
 * `?source=sample|camera&autostart=1&mode=…&viz=…&draw=server|browser`.
 * `document.body.dataset` tells tests what happens: state, running, results, resumes, fps, mode.
 *
 * Every address is relative to the page's own: a route prefix, or a proxy that serves it below a
 * path of its own, is nothing that it has to know.
 */

import { Capture } from "./capture.js";
import { isMask } from "./mask.js";
import { Notices } from "./notices.js";
import { Panel } from "./panel.js";
import { Readings } from "./readings.js";
import { SampleClip } from "./sample.js";
import { Settings } from "./settings.js";
import { SignIn } from "./signin.js";
import { openSource, SourceUnavailable } from "./sources.js";
import { Stage } from "./stage.js";
import { Stream } from "./stream.js";
import { Tally } from "./tally.js";

const REFRESH_MS = 500;
const STATS_INTERVAL_S = 1;

const byId = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);

function wishesOf(query) {
  const view = {};
  if (query.has("viz")) view.visualization_mode = query.get("viz");
  if (query.has("draw")) view.output = query.get("draw") === "browser" ? "mask" : "overlay";
  return { mode: query.get("mode"), view };
}

const endpoint = new URL("ws", location.href);
endpoint.protocol = endpoint.protocol.replace("http", "ws");

const signIn = new SignIn(new URL("api/ticket", location.href), () => stream.open());
const stream = new Stream(endpoint, { client: "studio", token: () => signIn.ticket() });
const settings = new Settings(stream, wishesOf(query));
const tally = new Tally();
const capture = new Capture(stream, (bytes) => tally.sent(bytes));
const stage = new Stage(byId("view"));
const readings = new Readings();
const notices = new Notices();
const panel = new Panel(settings);

/** @type {import("./sources.js").Source | null} */
let source = null;
/** @type {File | null} */
let file = null;
/** Counts starts, so that a camera that opens late cannot overtake a later choice. */
let starts = 0;
let welcomes = 0;

async function start() {
  const mine = ++starts;
  stream.open();
  try {
    const opened = await openSource(panel.source, file);
    if (mine !== starts) return opened.stop();
    release();
    run(opened);
  } catch (error) {
    if (!(error instanceof SourceUnavailable)) throw error;
    stop();
    notices.toast(panel.source === "camera" ? "Camera" : "Source", error.message);
  }
}

function run(opened) {
  source = opened;
  stage.mirrored = opened.mirrored;
  stage.preview(opened);
  capture.start(opened);
  byId("intro").hidden = true;
  showRunning();
}

function stop() {
  starts += 1;
  release();
  showRunning();
}

function release() {
  capture.stop();
  source?.stop();
  source = null;
}

function showRunning() {
  panel.running = source !== null;
  byId("caption").hidden = source === null;
  byId("caption").textContent = source?.label ?? "";
  notices.showState(stream.state, source !== null);
}

function onResult({ detail: result }) {
  tally.received(result);
  document.body.dataset.results = String(Number(document.body.dataset.results) + 1);
  const mode = settings.modes.find(({ name }) => name === result.meta.mode) ?? settings.mode;
  readings.showShares(mode, result.meta.classes);
  const frame = capture.take(result.frameSeq);
  const masked = isMask(result.payload, result.meta.media_type);
  if (masked && frame) stage.showMask(result, frame, mode.palette, settings.view);
  else frame?.close();
  if (!masked && result.payload.length) stage.showPicture(result);
}

const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** @param {{scene: Record<string, any>, server: Record<string, any>}} stats */
function factsOf({ scene, server }) {
  const replicas = Object.values(server.replicas ?? {}).reduce((sum, count) => sum + count, 0);
  const facts = [
    typeof scene.stability === "number" && `Mask stability ${Math.round(scene.stability * 100)} %`,
    server.sessions && counted(server.sessions, "session"),
    replicas && counted(replicas, "replica"),
  ];
  return facts.filter(Boolean).join(" · ");
}

/** Statistics that fail at every interval belong in their place, not in a row of toasts. */
function onProblem({ detail: problem }) {
  if (problem.code === "STATS_FAILED") return readings.showFacts(problem.message);
  notices.toast(problem.code, problem.message);
  if (problem.frameSeq !== undefined) capture.forget([problem.frameSeq]);
}

/** A resumed session still has its subscription. */
async function subscribe() {
  try {
    await stream.subscribeStats(STATS_INTERVAL_S);
  } catch (problem) {
    if (problem.code !== "CONNECTION_LOST") readings.showFacts(problem.message);
  }
}

stream.addEventListener("state", ({ detail }) => {
  notices.showState(detail, source !== null);
  signIn.showState(detail);
});
stream.addEventListener("welcome", ({ detail }) => {
  if (!detail.resumed) {
    stage.restart();
    subscribe();
  }
  if (welcomes++) notices.showReturn(detail.resumed);
  document.body.dataset.resumes = String(Number(document.body.dataset.resumes) + detail.resumed);
});
stream.addEventListener("result", onResult);
stream.addEventListener("stats", ({ detail }) => readings.showFacts(factsOf(detail)));
stream.addEventListener("problem", onProblem);
stream.addEventListener("dropped", ({ detail }) => {
  tally.dropped(detail.cause, detail.frames.length);
  capture.forget(detail.frames);
});
stream.addEventListener("lost", ({ detail }) => {
  tally.dropped("connection_lost", detail.frames.length);
  capture.forget(detail.frames);
});

settings.addEventListener("mode", ({ detail }) => (document.body.dataset.mode = detail.name));
settings.addEventListener("change", ({ detail }) => (capture.keepsPictures = detail.output === "mask"));
settings.addEventListener("refused", ({ detail }) => notices.toast(detail.code, detail.message));

panel.addEventListener("start", start);
panel.addEventListener("stop", stop);
panel.addEventListener("source", () => source && start());
panel.addEventListener("file", ({ detail }) => {
  file = detail;
  start();
});
panel.addEventListener("captureWidth", ({ detail }) => (capture.maxWidth = detail));
byId("begin").addEventListener("click", start);
byId("retry").addEventListener("click", () =>
  stream.state.phase === "waiting" ? stream.retryNow() : stream.open(),
);
addEventListener("online", () => stream.retryNow());

setInterval(() => {
  const reading = tally.read();
  document.body.dataset.fps = reading.fpsIn.toFixed(1);
  readings.show(reading, source !== null);
  notices.tick();
}, REFRESH_MS);

if (query.get("source") === "camera") panel.source = "camera";
SampleClip.load().then((clip) => {
  clip.drawPoster();
  if (!source) stage.preview({ picture: clip.canvas, width: clip.canvas.width, height: clip.canvas.height });
});
stream.open();
if (query.get("autostart") === "1") start();
