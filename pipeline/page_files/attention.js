const STEP = 26;
const HEIGHT = 140;
const layers = data.keys.length;
const heads = data.keys[0].length - 1;
const MEASURES = [
  ["received", "received from all words"],
  ["diagonal", "kept to itself (AttViz)"],
  ["spread", "spread over keys (entropy)"],
  ["rollout", "contribution, all layers (rollout)"],
];
const AGGREGATES = ["mean", "std", "max", "min", "range", "entropy"];
const wanted = { measure: "received", layer: layers - 1, head: -1, aggregate: "mean", chosen: -1, specials: false };

function values() {
  if (wanted.measure === "rollout") return data.rollout;
  if (wanted.head >= 0) return data.measures[wanted.measure][wanted.layer][wanted.head];
  return data.aggregates[wanted.measure][wanted.aggregate][wanted.layer];
}

// The heaviest keys of the chosen word, as shares by unit.
function keysOfChosen() {
  if (wanted.measure === "rollout") return new Map(data.rollout_keys[wanted.chosen]);
  return new Map(data.keys[wanted.layer][wanted.head >= 0 ? wanted.head : heads][wanted.chosen]);
}

function shownUnits() {
  return data.units.map((unit, index) => index).filter((index) => wanted.specials || !data.units[index].special);
}

function shade(node, share, hue) {
  node.style.backgroundColor = `hsl(${hue} 90% 45% / ${(0.75 * Math.min(1, Math.max(0, share))).toFixed(3)})`;
}

function drawTokens(shown) {
  const chosen = wanted.chosen >= 0;
  const found = chosen ? keysOfChosen() : null;
  const own = values();
  const valueOf = (index) => (chosen ? found.get(index) || 0 : own[index]);
  const highest = Math.max(1e-9, ...shown.map(valueOf));
  const node = el("p", { class: "tokens", dir: data.dir });
  for (const index of shown) {
    const unit = data.units[index];
    const names = ["token", unit.special ? "special" : "", index === wanted.chosen ? "chosen" : ""];
    const box = el("button", { type: "button", class: names.filter(Boolean).join(" "), dir: "auto", title: rounded(valueOf(index)) }, unit.text);
    shade(box, valueOf(index) / highest, chosen ? 25 : 210);
    box.addEventListener("click", () => setting("chosen")(index === wanted.chosen ? -1 : index));
    node.append(box, " ");
  }
  return node;
}

function drawKeys() {
  if (wanted.chosen < 0) return el("p", { class: "about" }, "Choose a word to see where it looks.");
  const rows = [...keysOfChosen()].map(([index, share]) => [data.units[index].text, share]);
  const name = el("p", { class: "about" }, "The heaviest keys of ", isolate(data.units[wanted.chosen].text), ":");
  return el("div", {}, name, table(["word", "share"], rows));
}

function line(x1, y1, x2, y2, color) {
  return shape("line", { x1, y1, x2, y2, stroke: color, "stroke-width": 3 });
}

function shape(tag, attributes) {
  const node = document.createElementNS(svgNamespace(), tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}

// The namespace as the parser gives it, so that no address is written in this page.
function svgNamespace() {
  return document.getElementById("frame").namespaceURI;
}

// For each word the range over the heads, and the aggregate or the head that is shown.
function drawChart(shown) {
  const frame = document.getElementById("frame").cloneNode(false);
  frame.removeAttribute("id");
  frame.setAttribute("width", String(STEP * shown.length));
  frame.setAttribute("height", String(HEIGHT));
  const own = values();
  const range = wanted.measure === "rollout" ? null : data.aggregates[wanted.measure];
  const tops = shown.map((index) => Math.max(own[index], range ? range.max[wanted.layer][index] : 0));
  const highest = Math.max(1e-9, ...tops);
  const y = (value) => HEIGHT - 6 - (value / highest) * (HEIGHT - 12);
  const ordered = data.dir === "rtl" ? [...shown].reverse() : shown;
  ordered.forEach((index, place) => {
    const x = place * STEP + STEP / 2;
    if (range) frame.append(line(x, y(range.min[wanted.layer][index]), x, y(range.max[wanted.layer][index]), "#bbb"));
    const dot = shape("circle", { cx: x, cy: y(own[index]), r: 5, fill: index === wanted.chosen ? "#c40" : "#06c" });
    const title = shape("title", {});
    title.textContent = `${data.units[index].text} ${rounded(own[index])}`;
    dot.append(title);
    frame.append(dot);
  });
  return el("div", { class: "chart" }, frame);
}

const place = el("div", {});

function update() {
  const shown = shownUnits();
  const about = "Bars: from the lowest to the highest head; dots: what is chosen above, in the order of the text.";
  place.replaceChildren(drawTokens(shown), drawKeys(), el("h2", {}, "Across heads"), el("p", { class: "about" }, about), drawChart(shown));
}

function setting(name) {
  return (value) => {
    wanted[name] = value;
    update();
  };
}

function numbered(count, name) {
  return Array.from({ length: count }, (_, index) => [String(index), `${name} ${index + 1}`]);
}

function specials() {
  const box = el("input", { type: "checkbox", "aria-label": "special pieces" });
  box.addEventListener("change", () => setting("specials")(box.checked));
  return el("label", { class: "row" }, box, "special pieces");
}

function start() {
  const layer = select("layer", numbered(layers, "layer"), (value) => setting("layer")(Number(value)));
  layer.querySelector("select").value = String(layers - 1);
  const controls = el(
    "div",
    { class: "controls sticky" },
    select("measure", MEASURES, setting("measure")),
    layer,
    select("head", [["-1", "all heads"], ...numbered(heads, "head")], (value) => setting("head")(Number(value))),
    select("across heads", AGGREGATES.map((name) => [name, name]), setting("aggregate")),
    specials(),
  );
  document.getElementById("explorer").append(controls, place);
  update();
}

start();
