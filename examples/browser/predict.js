// Runs an exported model with onnxruntime-web alone: a model's address and a clip's files in, probabilities out.

import * as ort from "onnxruntime-web";

const TYPES = { "<f4": Float32Array, "<f8": Float64Array, "|u1": Uint8Array, "|i1": Int8Array, "<i2": Int16Array };

/** The model at `url` with the card beside it. More threads need a page that is cross-origin isolated. */
export async function load(url, threads = 1) {
  ort.env.wasm.numThreads = threads;
  const card = await (await found(url.replace(/\.onnx$/, ".json"))).json();
  const session = await ort.InferenceSession.create(await (await found(url)).arrayBuffer());
  return { card, session };
}

/** What the model takes of one clip, {modality: File or Blob}; a modality that is not given counts as missing. */
export async function inputs(card, files) {
  const feeds = {};
  for (const given of card.inputs) {
    const values = files[given.name] ? await read(files[given.name], given) : new Float32Array(0);
    const length = values.length / given.width; // of tokens, or of samples
    const x = length ? values : new Float32Array(given.width); // there must be one, real or not
    const shape = given.kind === "sound" ? [1, x.length] : [1, x.length / given.width, given.width];
    feeds[given.name] = new ort.Tensor("float32", x, shape);
    feeds[given.length] = new ort.Tensor("int64", BigInt64Array.of(BigInt(length)), [1]);
  }
  return feeds;
}

/** The label, and [class, probability] from the likeliest on, of one clip. */
export async function predict({ card, session }, files) {
  const outputs = await session.run(await inputs(card, files));
  if (card.task === "regression") return { label: outputs.logits.data[0].toPrecision(6), rows: [] };
  const rows = card.labels.map((name, i) => [name, outputs.probabilities.data[i]]);
  return { label: label(card, rows), rows: rows.sort((a, b) => b[1] - a[1]) };
}

/** The likeliest class; of several labels those above 1/2, of several heads the likeliest of each. */
function label(card, rows) {
  if (card.task === "multilabel") return rows.filter((row) => row[1] > 0.5).map((row) => row[0]).join("|") || "none";
  const heads = card.task === "heads" ? Object.keys(card.heads).map((name) => name + ":") : [""];
  const best = (of) => of.reduce((a, b) => (b[1] > a[1] ? b : a))[0];
  return heads.map((head) => best(rows.filter((row) => row[0].startsWith(head))).slice(head.length)).join("+");
}

async function read(file, given) {
  const bytes = await file.arrayBuffer();
  return given.kind === "sound" ? readSound(bytes, given.rate) : readNpy(bytes, given);
}

/** One channel of whatever the browser can decode, at the model's rate. */
async function readSound(bytes, rate) {
  const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  const mono = new Float32Array(sound.length);
  for (let c = 0; c < sound.numberOfChannels; c++) {
    sound.getChannelData(c).forEach((value, i) => (mono[i] += value / sound.numberOfChannels));
  }
  return mono;
}

/** The numbers of a .npy file (N, F), row by row. */
function readNpy(bytes, given) {
  const view = new DataView(bytes);
  if (bytes.byteLength < 12 || view.getUint32(0) !== 0x934e554d) throw new Error(`${given.name}: not a .npy file`);
  const [start, size] = view.getUint8(6) === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const head = new TextDecoder().decode(bytes.slice(start, start + size));
  const [, type] = head.match(/'descr': '([^']*)'/) ?? [];
  const [, shape] = head.match(/'shape': \(([^)]*)\)/) ?? [];
  if (!TYPES[type] || head.includes("'fortran_order': True") || Number(shape.split(",")[1]) !== given.width) {
    throw new Error(`${given.name}: expected rows of ${given.width} numbers, such as float32; got ${head.trim()}`);
  }
  return Float32Array.from(new TYPES[type](bytes.slice(start + size)));
}

async function found(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return response;
}
