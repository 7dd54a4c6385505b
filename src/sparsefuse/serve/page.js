// The page: what /card says of the model, a form for a clip, and what /explain answers. Texts only ever become text.
const MOST_CLASSES = 8;
const FILM = /\.(avi|flv|m2ts|mkv|mov|mp4|mpe?g|mts|ogv|ts|webm|wmv|3gp)$/i; // of which browsers do not always know the type
const FIGURE =
  "Rollout: how much of each moment reaches what the classifier reads, by attention alone. " +
  "Masked: the drop of the prediction when that moment is masked.";
const at = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token") ?? "";
let card, request, recorder;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)}\u2009%`;

async function start() {
  const found = await fetch("card", { headers: token ? { authorization: `Bearer ${token}` } : {} });
  at("enter").hidden = found.status !== 401;
  if (found.status === 401) {
    at("wrong").textContent = token ? "This is not the token." : "";
    at("token").focus();
    return;
  }
  card = await found.json();
  if (!found.ok) return problem("The server does not answer", card.error);
  sessionStorage.setItem("token", token);
  showCard();
  showFields();
  empty();
  for (const part of [at("columns"), document.querySelector("footer")]) part.hidden = false;
}

function showCard() {
  const classes = card.labels.classes ?? [];
  const rest = classes.length - MOST_CLASSES;
  const named = `${classes.slice(0, MOST_CLASSES).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
  const says = classes.length ? `Says which of ${named} a clip shows` : "Gives a number for a clip";
  const few = `${classes.slice(0, -1).join(", ")}${classes.length > 1 ? " or " : ""}${classes.slice(-1)}`;
  const what = classes.length > 3 ? `${classes.length} classes` : few || "A number";
  const name = `${what} from ${Object.keys(card.modalities).join(" and ")}`;
  at("name").textContent = name[0].toUpperCase() + name.slice(1);
  document.title = `${at("name").textContent}: sparsefuse`;
  at("what").textContent = `${says}, from its ${Object.keys(card.modalities).join(" and ")}.`;
  const facts = { Method: card.method, Score: card.score || "not scored" };
  for (const [name, one] of Object.entries(card.modalities))
    facts[name] = `${one.width} features${one.extractor ? `, made by ${one.extractor} from ${one.kind}` : ""}`;
  if (classes.length) facts.Classes = classes.join(", ");
  if (card.results.cost) facts.Cost = `${card.results.cost.gmacs.toPrecision(3)} GMACs a clip`;
  for (const [name, value] of Object.entries(card.versions)) facts[name] = String(value);
  for (const [name, value] of Object.entries(facts)) at("model").append(element("dt", {}, name), element("dd", {}, value));
  at("limits").textContent = `At most ${card.limits.mb} MB and ${card.limits.seconds} s.`;
  const said = texts().map((name) => ` -F ${name}="what was said"`).join("");
  const file = ` -F file=@${kinds().has("series") ? "readings.csv" : "clip.mp4"}`;
  const arrays = Object.keys(card.modalities).map((n) => ` -F ${n}=@${n}.npy`).join("");
  const secret = token ? ' -H "Authorization: Bearer $SPARSEFUSE_TOKEN"' : "";
  const sent = said + (takesFile() ? file : said ? "" : arrays);
  at("command").textContent = `curl${secret}${sent} ${new URL("predict", location.href)}`;
}

// What its modalities are made from, but for those made elsewhere; the columns of text; whether one file may be all the rest.
const kinds = () => new Set(Object.values(card.modalities).map((one) => one.kind).filter(Boolean));
const texts = () => Object.values(card.modalities).filter((one) => one.kind === "text").map((one) => one.column);
const takesFile = () => "file" in card.inputs && [...kinds()].some((kind) => kind !== "text");

function showFields() {
  const single = takesFile();
  const others = Object.entries(card.inputs).filter(([name]) => name !== "file");
  if (single) at("fields").append(dropField("file", "Clip", "Drop a file here, or choose one."));
  at("fields").append(...texts().map(textField));
  const rows = others.map(([name, what]) => dropField(name, name, what));
  if ((single || texts().length) && rows.length) {
    at("fields").append(element("details", {}, element("summary", {}, "A file for each modality instead"), ...rows));
  } else at("fields").append(...rows);
  at("record").hidden = !(single && navigator.mediaDevices && (kinds().has("video") || kinds().has("audio")));
  at("record").onclick = () => (recorder ? recorder.stop() : record(kinds().has("video")));
}

function textField(name) {
  const input = element("textarea", { name, id: `text-${name}`, rows: 3 });
  input.oninput = () => {
    clear(); // the old answer is not that of the new text
    for (const file of at("fields").querySelectorAll("[type=file]")) if (file.name === name) file.value = "";
  };
  return element("label", { class: "text", for: input.id }, element("b", {}, name), input);
}

function dropField(name, label, what) {
  const input = element("input", { type: "file", name, id: `field-${name}` });
  const field = element("label", { class: "drop", for: input.id }, element("b", {}, label), element("span", {}, what), input);
  const over = (on) => (event) => {
    event.preventDefault();
    field.classList.toggle("over", on);
  };
  field.ondragover = over(true);
  field.ondragleave = over(false);
  field.ondrop = (event) => {
    over(false)(event);
    input.files = event.dataTransfer.files;
    input.onchange();
  };
  input.onchange = () => {
    for (const other of at("fields").querySelectorAll("input"))
      if ((other.name === "file") !== (name === "file")) other.value = ""; // one clip, or a file for each modality
    const text = at(`text-${name}`); // of which this is the file
    if (text) text.value = "";
    clear(); // the old answer is not that of the new clip
    if (name !== "file" || !input.files.length) return;
    preview(input.files[0]);
    if (!texts().length) at("clip").requestSubmit(); // one clip is all there is to choose
  };
  return field;
}

function clear() {
  request?.abort();
  step();
  at("problem").replaceChildren();
  at("answer").replaceChildren();
}

function preview(file) {
  const player = at("preview");
  URL.revokeObjectURL(player.src);
  player.srcObject = null;
  player.muted = false;
  at("unplayable").hidden = true;
  player.hidden = !(/^(video|audio)/.test(file.type) || (!file.type && FILM.test(file.name)));
  player.onerror = () => (at("unplayable").hidden = !(player.hidden = true));
  if (!player.hidden) player.src = URL.createObjectURL(file);
}

async function record(video) {
  let stream;
  clear();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video, audio: true });
  } catch (error) {
    return problem("No recording", `camera or microphone cannot be used: ${error.message}`);
  }
  const player = at("preview");
  Object.assign(player, { srcObject: stream, muted: true, hidden: false });
  player.play();
  const parts = [];
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    for (const track of stream.getTracks()) track.stop();
    const type = recorder.mimeType;
    recorder = undefined;
    at("record").textContent = "Record";
    const file = new File(parts, `recording.${/webm|ogg|mp4/.exec(type)?.[0] ?? "webm"}`, { type });
    const files = new DataTransfer();
    files.items.add(file);
    at("field-file").files = files.files;
    at("field-file").onchange();
  };
  recorder.start();
  at("record").textContent = "Stop";
  setTimeout((own) => own === recorder && own.stop(), 1000 * card.limits.seconds - 500, recorder);
}

function send(event) {
  event.preventDefault();
  const form = new FormData();
  for (const input of at("fields").querySelectorAll("input"))
    if (input.files.length) form.append(input.name, input.files[0]);
  for (const input of at("fields").querySelectorAll("textarea"))
    if (input.value.trim() && !form.has(input.name)) form.append(input.name, input.value);
  clear();
  if (![...form.keys()].length) return problem("There is no clip yet", texts().length ? "Write a text first." : "Choose a file first.");
  const own = (request = new XMLHttpRequest()); // unlike fetch, it tells how much was sent
  own.open("POST", "explain");
  if (token) own.setRequestHeader("authorization", `Bearer ${token}`);
  step("Sending the clip", 0);
  own.upload.onprogress = (sent) => sent.lengthComputable && step("Sending the clip", sent.loaded / sent.total);
  own.upload.onload = () => step("Reading the clip");
  own.onprogress = () => own.status === 200 && read(own.responseText, false);
  own.onload = () => (own.status === 200 ? read(own.responseText, true) : fail(own.responseText));
  own.onerror = () => fail('{"error": "the server cannot be reached, or closed the connection"}');
  own.send(form);
}

function step(text = "", share = undefined) {
  at("step").textContent = text ? `${text} …` : "";
  at("progress").hidden = !text;
  if (share === undefined) at("progress").removeAttribute("value");
  else at("progress").value = share;
}

// What has come of the two lines: the prediction, then its explanation.
function read(text, whole) {
  const lines = text.split("\n").filter(Boolean);
  if (!text.includes("\n")) return;
  if (!at("answer").childElementCount) {
    showAnswer(JSON.parse(lines[0]));
    step("Computing the explanation");
  }
  if (!whole) return;
  step();
  const explained = lines.length > 1 ? JSON.parse(lines[1]) : { error: "the server ended before it was there" };
  if (explained.error) problem("The explanation failed; the prediction is valid", explained.error);
  else showExplained(explained);
}

function fail(text) {
  let reason = "the answer is not that of this server";
  try {
    reason = JSON.parse(text).error ?? reason;
  } catch {} // a proxy's own page
  clear();
  problem("This clip cannot be used", reason);
}

function problem(title, reason) {
  at("problem").replaceChildren(element("h2", {}, title), element("p", {}, reason));
}

function empty() {
  at("answer").replaceChildren(
    element("div", { class: "empty" }, element("b", {}, "Nothing here yet."),
      element("span", {}, "The prediction, its probability and its explanation appear here.")));
}

function showAnswer(answer) {
  const ranked = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  const rest = ranked.splice(MOST_CLASSES);
  const bars = element("ol", { class: "bars" }, ...ranked.map(([label, share]) => {
    const bar = element("span");
    bar.style.width = `${100 * share}%`;
    return element("li", {}, element("span", { class: "label" }, label),
      element("span", { class: "track", "aria-hidden": "true" }, bar), element("span", { class: "number" }, percent(share)));
  }));
  at("answer").replaceChildren(element("p", { class: "best" }, answer.label || "none of its classes"), bars);
  const left = rest.reduce((sum, [, share]) => sum + share, 0);
  const classes = rest.length > 1 ? "classes have" : "class has";
  if (rest.length) at("answer").append(element("p", { class: "soft" }, `${rest.length} more ${classes} ${percent(left)}.`));
  for (const [name, why] of Object.entries(answer.missing))
    at("answer").append(element("p", { class: "note" }, `Without ${name}: ${why}`));
}

function showExplained(explained) {
  const shares = element("div", { class: "shares", "aria-hidden": "true" });
  const legend = element("ul", { class: "legend" });
  Object.entries(explained.shares).forEach(([name, share], i) => {
    const colour = `var(--c${i % 8})`;
    const [part, dot] = [element("span"), element("i", { "aria-hidden": "true" })];
    Object.assign(part.style, { flexGrow: share, background: colour });
    dot.style.background = colour;
    shares.append(part);
    legend.append(element("li", {}, dot, `${name} `, element("b", {}, `${(100 * share).toFixed(0)}\u2009%`)));
  });
  const svg = new DOMParser().parseFromString(explained.figure, "text/html").querySelector("svg");
  svg.setAttribute("aria-label", "Frames and streams of the clip over time, with rollout and masking below each");
  const caption = element("figcaption", {}, [FIGURE, ...explained.notes].join(" "));
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Figure" }, document.importNode(svg, true));
  at("answer").append(element("h2", {}, "What it looked at"), shares, legend, element("figure", {}, scroll, caption));
}

at("clip").onsubmit = send;
at("enter").onsubmit = (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  start();
};
start().catch((error) => problem("The server does not answer", error.message));
