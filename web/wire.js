/**
 * What `segstream.v1` carries: its binary frames, bytes in, values out, and the shapes of what
 * the page reads of its text. No I/O.
 *
 * Both headers are little-endian and start with `u8 version = 1, u8 kind`.
 *
 *   Frame  (kind 1, to the server)    u16 flags, u32 seq, u32 ack, u64 captured_us; then the image
 *   Result (kind 2, from the server)  u16 flags, u32 seq, u32 frame_seq, u32 meta_bytes,
 *                                     u64 captured_us; then the JSON metadata, then the payload
 *
 * `captured_us` belongs to the client: the server echoes it and never reads it.
 */

export const SUBPROTOCOL = "segstream.v1";
const FRAME_HEADER_BYTES = 20;
const RESULT_HEADER_BYTES = 24;

const VERSION = 1;
const KIND_FRAME = 1;
const KIND_RESULT = 2;

/** Bytes that are not a Result of this version of the protocol. */
class MalformedResult extends Error {}

/**
 * @typedef {object} Mode
 * @property {string} name
 * @property {string} title
 * @property {string[]} labels index = class id, 0 is the background
 * @property {Array<[number, number, number]>} palette RGB, one per class
 * @property {[number, number]} input_size height, width
 */

/**
 * @typedef {object} Welcome
 * @property {string} session
 * @property {string} [resume_token]
 * @property {boolean} resumed
 * @property {string} [why] why a session was not resumed
 * @property {number} [last_request] id of the newest request that the server had received
 * @property {number} heartbeat_s
 * @property {number} timeout_s
 * @property {number} max_in_flight
 * @property {number} max_frame_bytes
 * @property {number} max_frame_pixels
 * @property {Mode[]} modes
 * @property {string} mode
 * @property {Record<string, any>} viz
 * @property {[number, number]} retry_ms
 */

/**
 * @typedef {object} ResultMeta
 * @property {string} mode
 * @property {number} width of the payload, pixels
 * @property {number} height
 * @property {string} media_type of the payload; empty where there is none
 * @property {Record<string, number>} stages_ms queue, decode, inference, render, encode
 * @property {number} batch frames in the call that answered this one
 * @property {Array<{id: number, label: string, share: number}>} classes without the background
 */

/**
 * @typedef {object} FrameHeader
 * @property {number} seq grows strictly within a session
 * @property {number} ack highest result seq fully received
 * @property {number} capturedUs any clock of the client, in microseconds
 */

/**
 * @typedef {object} WireResult
 * @property {number} seq the result's own number: the one to acknowledge
 * @property {number} frameSeq the frame it answers
 * @property {number} capturedUs echoed from that frame
 * @property {ResultMeta} meta
 * @property {Uint8Array} payload empty where the output is `none`
 */

/**
 * One Frame message.
 * @param {FrameHeader} header
 * @param {ArrayBuffer} image JPEG, PNG or WebP bytes
 * @returns {ArrayBuffer}
 */
export function encodeFrame(header, image) {
  const message = new Uint8Array(FRAME_HEADER_BYTES + image.byteLength);
  const view = new DataView(message.buffer);
  view.setUint8(0, VERSION);
  view.setUint8(1, KIND_FRAME);
  view.setUint32(4, header.seq, true);
  view.setUint32(8, header.ack, true);
  view.setBigUint64(12, BigInt(Math.round(header.capturedUs)), true);
  message.set(new Uint8Array(image), FRAME_HEADER_BYTES);
  return message.buffer;
}

/**
 * One Result message.
 * @param {ArrayBuffer} message
 * @returns {WireResult}
 * @throws {MalformedResult}
 */
export function decodeResult(message) {
  const view = new DataView(message);
  if (message.byteLength < RESULT_HEADER_BYTES) {
    throw new MalformedResult(
      `a Result has at least ${RESULT_HEADER_BYTES} bytes, not ${message.byteLength}`,
    );
  }
  if (view.getUint8(0) !== VERSION || view.getUint8(1) !== KIND_RESULT) {
    throw new MalformedResult(
      `version ${view.getUint8(0)}, kind ${view.getUint8(1)} is not a Result of version 1`,
    );
  }
  const metaEnd = RESULT_HEADER_BYTES + view.getUint32(12, true);
  if (metaEnd > message.byteLength)
    throw new MalformedResult("the metadata runs past the end of the message");
  return {
    seq: view.getUint32(4, true),
    frameSeq: view.getUint32(8, true),
    capturedUs: Number(view.getBigUint64(16, true)),
    meta: JSON.parse(
      new TextDecoder().decode(new Uint8Array(message, RESULT_HEADER_BYTES, metaEnd - RESULT_HEADER_BYTES)),
    ),
    payload: new Uint8Array(message, metaEnd),
  };
}
