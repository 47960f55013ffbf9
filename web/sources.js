/**
 * Where frames come from. A source has a picture that can be drawn at any time,
 * its size, and a clock that ticks once per new picture.
 *
 * @typedef {object} Source
 * @property {string} label for the person at the screen
 * @property {HTMLVideoElement | HTMLCanvasElement | ImageBitmap} picture
 * @property {number} width pixels of the picture
 * @property {number} height
 * @property {boolean} mirrored whether it is shown as in a mirror (never sent so)
 * @property {(tick: () => void) => () => void} watch calls `tick` per new picture; returns the stop
 * @property {() => void} stop frees the camera or the file
 */

import { SampleClip } from "./sample.js";

/** The source cannot be opened; the message says what to do. */
export class SourceUnavailable extends Error {}

const CAMERA_ADVICE = {
  NotAllowedError:
    "The browser has no permission to use the camera. Allow it in the address bar or the system settings, then press Start again.",
  NotFoundError: "No camera was found. Connect one, or choose the sample clip or a file.",
  NotReadableError: "Another program is using the camera. Close it there, then press Start again.",
  OverconstrainedError: "The camera offers no suitable picture size. Choose another camera, or a file.",
};

/** @type {Record<string, (file: File | null) => Promise<Source>>} */
const OPENERS = {
  sample: openSample,
  camera: openCamera,
  file: openFile,
};

/**
 * Opens a source by kind.
 * @param {"sample" | "camera" | "file"} kind
 * @param {File | null} file for kind `file`
 * @returns {Promise<Source>}
 * @throws {SourceUnavailable}
 */
export function openSource(kind, file = null) {
  return OPENERS[kind](file);
}

async function openSample() {
  const clip = await SampleClip.load();
  clip.draw(0);
  const { canvas } = clip;
  const watch = (tick) =>
    everyAnimationFrame((now) => {
      clip.draw(now);
      tick();
    });
  return {
    label: "Sample clip",
    picture: canvas,
    width: canvas.width,
    height: canvas.height,
    mirrored: false,
    watch,
    stop() {},
  };
}

async function openCamera() {
  if (!navigator.mediaDevices) {
    throw new SourceUnavailable(
      "Browsers give the camera to secure pages only. Open this page over https, or on localhost.",
    );
  }
  const wanted = {
    video: { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: "user" },
    audio: false,
  };
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia(wanted);
  } catch (error) {
    throw new SourceUnavailable(CAMERA_ADVICE[error.name] ?? `The camera did not start: ${error.message}`);
  }
  const video = await playing(
    { srcObject: media },
    "The camera gave no picture. Unplug it and plug it in again, then press Start.",
  );
  const [track] = media.getVideoTracks();
  return {
    ...videoSource(video, track.label || "Camera", () => media.getTracks().forEach((each) => each.stop())),
    mirrored: track.getSettings().facingMode !== "environment",
  };
}

async function openFile(file) {
  if (!file) throw new SourceUnavailable("No file is chosen. Press “File…” and choose a video or a picture.");
  return file.type.startsWith("image/") ? openImage(file) : openVideo(file);
}

async function openVideo(file) {
  const url = URL.createObjectURL(file);
  const video = await playing(
    { src: url, loop: true },
    `This browser cannot play ${file.name}. MP4 (H.264) and WebM play almost everywhere.`,
  );
  return videoSource(video, file.name, () => URL.revokeObjectURL(url));
}

async function openImage(file) {
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    throw new SourceUnavailable(
      `${file.name} is not a picture that this browser can read. Choose a JPEG, PNG or WebP file.`,
    );
  }
  return {
    label: file.name,
    picture,
    width: picture.width,
    height: picture.height,
    mirrored: false,
    watch: everyAnimationFrame,
    stop: () => picture.close(),
  };
}

/** A muted video that has begun to play. */
async function playing(properties, advice) {
  const video = Object.assign(document.createElement("video"), {
    muted: true,
    playsInline: true,
    ...properties,
  });
  try {
    await video.play();
  } catch {
    throw new SourceUnavailable(advice);
  }
  return video;
}

function videoSource(video, label, release) {
  const stop = () => {
    video.pause();
    video.srcObject = null;
    video.removeAttribute("src");
    release();
  };
  return {
    label,
    picture: video,
    width: video.videoWidth,
    height: video.videoHeight,
    mirrored: false,
    watch: (tick) => everyVideoFrame(video, tick),
    stop,
  };
}

function everyAnimationFrame(tick) {
  let handle = requestAnimationFrame(function again(now) {
    handle = requestAnimationFrame(again);
    tick(now);
  });
  return () => cancelAnimationFrame(handle);
}

/** Where the browser tells when a new picture is on show, no picture is captured twice. */
function everyVideoFrame(video, tick) {
  if (!("requestVideoFrameCallback" in video)) return everyAnimationFrame(tick);
  let handle = video.requestVideoFrameCallback(function again() {
    handle = video.requestVideoFrameCallback(again);
    tick();
  });
  return () => video.cancelVideoFrameCallback(handle);
}
