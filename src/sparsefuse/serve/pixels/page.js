// The page: what /card says of the model, a field per stream, and what /show answers. Texts only ever become text.
const at = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token") ?? "";
let card, request;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const listed = (names) => [names.slice(0, -1).join(", "), ...names.slice(-1)].filter(Boolean).join(" and ");
const percent = (share) => `${(100 * share).toFixed(1)}\u2009%`;
const picture = (png, alt) => element("img", { src: `data:image/png;base64,${png}`, alt });

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
  for (const [name, stream] of Object.entries(card.streams)) at("fields").append(dropField(name, stream.what));
  empty();
  for (const part of [at("columns"), document.querySelector("footer")]) part.hidden = false;
}

function showCard() {
  const streams = Object.keys(card.streams);
  const classes = Object.keys(card.classes);
  const makes = card.target ? `A ${card.target} picture` : `${classes.length} classes of pixels`;
  at("name").textContent = `${makes} from ${listed(streams)}`;
  document.title = `${at("name").textContent}: sparsefuse`;
  at("what").textContent = card.target
    ? `Makes the ${card.target} picture of a scene from its ${listed(streams)}.`
    : `Says of each pixel of a scene which of ${classes.slice(0, 8).join(", ")}${classes.length > 8 ? ` and ${classes.length - 8} more` : ""} it shows.`;
  const seen = `${card.size[0]} x ${card.size[1]} (rows x columns)`;
  const facts = { Method: card.method, Score: card.score || "not scored" };
  facts["Trained on"] = card.resized ? `pictures resized to ${seen}, as yours will be` : `pictures of about ${seen}; larger ones are cut into tiles`;
  for (const [name, stream] of Object.entries(card.streams)) facts[name] = stream.what;
  if (classes.length) facts.Classes = classes.join(", ");
  for (const [name, value] of Object.entries(card.versions)) facts[name] = String(value);
  for (const [name, value] of Object.entries(facts)) at("model").append(element("dt", {}, name), element("dd", {}, value));
  at("limits").textContent = `At most ${card.limits.mb} MB. Pictures of a scene have one size; a stream may be left out.`;
  const sent = streams.map((name) => ` -F ${name}=@${name}.png`).join("");
  const secret = token ? ' -H "Authorization: Bearer $SPARSEFUSE_TOKEN"' : "";
  at("command").textContent = `curl${secret}${sent} ${new URL("picture", location.href)} -o prediction.png`;
}

function dropField(name, what) {
  const input = element("input", { type: "file", name, id: `field-${name}` });
  const field = element("label", { class: "drop", for: input.id }, element("b", {}, name), element("span", {}, what), input);
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
  input.onchange = clear; // the old answer is not that of the new scene
  return field;
}

function clear() {
  request?.abort();
  step();
  at("problem").replaceChildren();
  at("answer").replaceChildren();
}

function send(event) {
  event.preventDefault();
  const form = new FormData();
  for (const input of at("fields").querySelectorAll("input"))
    if (input.files.length) form.append(input.name, input.files[0]);
  clear();
  if (![...form.keys()].length) return problem("There is no picture yet", "Choose a file first.");
  const own = (request = new XMLHttpRequest()); // unlike fetch, it tells how much was sent
  own.open("POST", "show");
  if (token) own.setRequestHeader("authorization", `Bearer ${token}`);
  step("Sending the pictures", 0);
  own.upload.onprogress = (sent) => sent.lengthComputable && step("Sending the pictures", sent.loaded / sent.total);
  own.upload.onload = () => step("Reading them");
  own.onload = () => (own.status === 200 ? showAnswer(JSON.parse(own.responseText)) : fail(own.responseText));
  own.onerror = () => fail('{"error": "the server cannot be reached, or closed the connection"}');
  own.send(form);
}

function step(text = "", share = undefined) {
  at("step").textContent = text ? `${text} …` : "";
  at("progress").hidden = !text;
  if (share === undefined) at("progress").removeAttribute("value");
  else at("progress").value = share;
}

function fail(text) {
  let reason = "the answer is not that of this server";
  try {
    reason = JSON.parse(text).error ?? reason;
  } catch {} // a proxy's own page
  clear();
  problem("These pictures cannot be used", reason);
}

function problem(title, reason) {
  at("problem").replaceChildren(element("h2", {}, title), element("p", {}, reason));
}

function empty() {
  const what = card.target ? "The picture appears here." : "The classes of the pixels appear here, over the picture.";
  at("answer").replaceChildren(element("div", { class: "empty" }, element("b", {}, "Nothing here yet."), element("span", {}, what)));
}

function showAnswer(answer) {
  step();
  const { prediction, ...streams } = answer.views;
  const parts = card.target ? [element("figure", { class: "stack" }, picture(prediction, "Prediction"))] : labels(answer, prediction, streams);
  const link = element("a", { href: `data:image/png;base64,${answer.png}`, download: "prediction.png" }, "prediction.png");
  const size = `${answer.height} x ${answer.width} pixels in ${(answer.ms / 1000).toFixed(2)}\u2009s; `;
  at("answer").replaceChildren(...parts, element("p", { class: "soft" }, size, link));
  for (const [name, why] of Object.entries(answer.missing))
    at("answer").append(element("p", { class: "note" }, `Without ${name}: ${why}`));
  const given = Object.entries(streams).map(([name, png]) =>
    element("figure", {}, picture(png, name), element("figcaption", {}, name)));
  at("answer").append(element("h2", {}, "What it was given"), element("div", { class: "given" }, ...given));
}

// The classes over the first stream, with a slider between both, and the legend.
function labels(answer, prediction, streams) {
  const color = Object.keys(streams).find((name) => card.streams[name].kind === "color") ?? Object.keys(streams)[0];
  const top = picture(prediction, "Classes of the pixels");
  const stack = element("figure", { class: "stack" }, picture(streams[color], color), top);
  const slider = element("input", { type: "range", min: 0, max: 100, value: 65, id: "strength" });
  const set = () => (top.style.opacity = slider.value / 100);
  slider.oninput = set;
  set();
  const legend = element("ul", { class: "legend" }, ...answer.classes.map((one) => {
    const dot = element("i", { "aria-hidden": "true" });
    dot.style.background = one.color;
    return element("li", {}, dot, `${one.name} `, element("b", {}, percent(one.share)));
  }));
  return [stack, element("label", { class: "soft slide", for: "strength" }, color, slider, "classes"), legend];
}

at("clip").onsubmit = send;
at("enter").onsubmit = (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  start();
};
start().catch((error) => problem("The server does not answer", error.message));
