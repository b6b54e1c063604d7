"use strict";
// The model in the browser: a file or the microphone -> samples at the model's rate -> probabilities of the windows.

const find = (id) => document.getElementById(id);
const say = (text) => { find("status").textContent = text; };
const percent = (value) => `${(100 * value).toFixed(1)} %`;
let model = null;
let session = null;

async function start() {
  ort.env.wasm.numThreads = 1; // more of them need headers that a plain server does not send
  model = await (await fetch("model.json")).json();
  document.title = find("title").textContent = model.name;
  session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
  find("about").textContent =
    `Tells apart ${model.labels.length} kinds of sounds, in windows of ${model.window_s} s: ${model.labels.slice(0, 12).join(", ")}` +
    (model.labels.length > 12 ? " …" : "");
  find("sound").disabled = false;
  find("record").disabled = !(navigator.mediaDevices && window.MediaRecorder);
}

// Encoded sound -> mono samples at the model's rate; the browser decodes, and resamples where the rate is another.
async function decode(bytes) {
  const context = new OfflineAudioContext(1, 1, model.sampling_rate);
  const audio = await context.decodeAudioData(bytes);
  const mono = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    const samples = audio.getChannelData(channel);
    for (let i = 0; i < mono.length; i++) mono[i] += samples[i] / audio.numberOfChannels;
  }
  return mono;
}

// Samples -> {scores: of each class, windows: of each window and class}; a clip's score is its windows' mean.
async function classify(samples) {
  const tensor = new ort.Tensor("float32", samples, [samples.length]);
  const { probabilities } = await session.run({ waveform: tensor });
  const [count, classes] = probabilities.dims;
  const windows = Array.from({ length: count }, (_, w) => Array.from(probabilities.data.slice(w * classes, (w + 1) * classes)));
  const scores = model.labels.map((_, c) => windows.reduce((sum, row) => sum + row[c], 0) / count);
  return { scores, windows };
}

async function hear(bytes, name) {
  find("result").hidden = true;
  if (!bytes.byteLength) return say(`${name} is empty`);
  say(`Decoding ${name} …`);
  let samples;
  try {
    samples = await decode(bytes);
  } catch {
    return say(`${name} cannot be used: it is no sound that this browser can decode`);
  }
  if (!samples.length) return say(`${name} cannot be used: it holds no samples`);
  if (!samples.every(Number.isFinite)) return say(`${name} cannot be used: some of its samples are not finite`);
  const duration = samples.length / model.sampling_rate;
  const most = Math.round(model.max_s * model.sampling_rate);
  say(`Listening to ${name} …`);
  await new Promise((resolve) => setTimeout(resolve)); // so that it is seen
  try {
    show(await classify(samples.slice(0, most)), Math.min(duration, model.max_s));
  } catch (error) {
    return say(`${name} cannot be used: the model failed (${error.message})`);
  }
  say(`${name}: ${duration.toFixed(1)} s` + (samples.length > most ? `, of which the first ${model.max_s} s were heard` : ""));
}

function show(found, duration) {
  const order = found.scores.map((score, i) => [score, i]).sort((a, b) => b[0] - a[0]).slice(0, 10);
  find("top").textContent = model.labels[order[0][1]];
  find("scores").replaceChildren(...order.map(([score, i]) => {
    const row = document.createElement("li");
    const bar = Object.assign(document.createElement("div"), { className: "bar" });
    bar.append(document.createElement("i"));
    bar.firstChild.style.width = `${100 * score}%`;
    const name = Object.assign(document.createElement("span"), { textContent: model.labels[i] });
    row.append(name, bar, Object.assign(document.createElement("span"), { textContent: percent(score) }));
    return row;
  }));
  const best = found.windows.map((row) => row.indexOf(Math.max(...row)));
  const starts = best.map((_, w) => w).filter((w) => best[w] !== best[w - 1]);
  find("windows").replaceChildren(...starts.map((w, i) => {
    const count = (starts[i + 1] ?? best.length) - w;
    const cell = Object.assign(document.createElement("div"), { textContent: model.labels[best[w]] });
    cell.style.flexGrow = count;
    cell.title = `${model.labels[best[w]]} from ${(w * model.step_s).toFixed(2)} s`;
    return cell;
  }));
  find("span").textContent = `0 to ${duration.toFixed(1)} s, the likeliest of each window`;
  find("result").hidden = false;
  window.found = found; // the numbers, for those who want them
}

async function record() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    return say(`The microphone cannot be used: ${error.message}`);
  }
  const recorder = new MediaRecorder(stream);
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = async () => {
    stream.getTracks().forEach((track) => track.stop());
    await hear(await new Blob(parts).arrayBuffer(), "the recording");
    find("record").disabled = false;
  };
  find("record").disabled = true;
  say("Recording …");
  recorder.start();
  setTimeout(() => recorder.stop(), 5000);
}

const take = async (file) => { if (file && session) await hear(await file.arrayBuffer(), file.name); };
find("sound").addEventListener("change", (event) => take(event.target.files[0]));
find("record").addEventListener("click", record);
for (const kind of ["dragover", "dragleave", "drop"]) {
  find("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    find("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}
start().catch((error) => { find("about").textContent = `The model could not be loaded: ${error.message}`; });
