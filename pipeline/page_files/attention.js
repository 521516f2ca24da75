const STEP = 26;
const HEIGHT = 140;
// Words that are drawn at once.
const WORDS_A_PAGE = 200;
const layers = data.layers;
const heads = data.heads;
const windows = data.units.at(-1).window + 1;
const KNOWN_MEASURES = [
  ["received", "received from all words"],
  ["diagonal", "kept to itself (AttViz)"],
  ["spread", "spread over keys (entropy)"],
  ["influence", "influence (attention x gradient)"],
  ["rollout", "contribution, all layers (rollout)"],
];
// Files of other tools have one of them.
const MEASURES = KNOWN_MEASURES.filter(([name]) => name in data.measures || name in data);
const AGGREGATES = ["mean", "std", "max", "min", "range", "entropy"];
const wanted = { measure: MEASURES[0][0], layer: layers - 1, head: -1, aggregate: "mean", chosen: -1, specials: false };

function values() {
  if (wanted.measure === "rollout") return rowOf(data.rollout);
  if (wanted.head >= 0) return rowOf(data.measures[wanted.measure], wanted.layer, wanted.head);
  return rowOf(data.aggregates[wanted.measure][wanted.aggregate], wanted.layer);
}

// The heaviest keys of the chosen word, as shares by unit.
function keysOfChosen() {
  const flow = wanted.measure === "rollout";
  const place = flow ? [wanted.chosen] : [wanted.layer, wanted.head >= 0 ? wanted.head : heads, wanted.chosen];
  const shares = rowOf(flow ? data.rollout_shares : data.shares, ...place);
  const keys = [...rowOf(flow ? data.rollout_keys : data.keys, ...place)];
  return new Map(keys.map((key, index) => [key, shares[index]]).filter(([, share]) => share > 0));
}

function shownUnits() {
  return data.units.map((unit, index) => index).filter((index) => wanted.specials || !data.units[index].special);
}

function highestOf(numbers) {
  return shownUnits().reduce((highest, index) => Math.max(highest, numbers(index)), 1e-9);
}

function shade(node, share, hue) {
  node.style.backgroundColor = `hsl(${hue} 90% 45% / ${(0.75 * Math.min(1, Math.max(0, share))).toFixed(3)})`;
}

function drawTokens(shown) {
  const found = wanted.chosen >= 0 && data.keys ? keysOfChosen() : null;
  const own = values();
  const valueOf = (index) => (found ? found.get(index) || 0 : own[index]);
  const highest = highestOf(valueOf);
  const node = el("p", { class: "tokens", dir: data.dir });
  shown.forEach((index, place) => {
    const unit = data.units[index];
    const begins = place === 0 || data.units[shown[place - 1]].window !== unit.window;
    if (windows > 1 && begins) node.append(el("span", { class: "about window" }, `window ${unit.window + 1}`), " ");
    const names = ["token", unit.special ? "special" : "", index === wanted.chosen ? "chosen" : ""];
    const told = { type: "button", class: names.filter(Boolean).join(" "), "aria-pressed": index === wanted.chosen };
    const box = el("button", { ...told, dir: "auto", title: rounded(valueOf(index)) }, unit.text);
    shade(box, valueOf(index) / highest, found ? 25 : 210);
    box.addEventListener("click", () => {
      setting("chosen")(index === wanted.chosen ? -1 : index);
      // The words are drawn anew, and whoever has only keys would be sent back to the top.
      list.node.querySelectorAll(".token")[place].focus();
    });
    node.append(box, " ");
  });
  return node;
}

function drawKeys() {
  if (!data.keys) return el("p", { class: "about" }, "Where a word looks is not known here.");
  if (wanted.chosen < 0) return el("p", { class: "about" }, "Choose a word to see where it looks.");
  const rows = [...keysOfChosen()].map(([index, share]) => [data.units[index].text, index + 1, share.toFixed(4)]);
  const name = el("p", { class: "about" }, "The heaviest keys of ", isolate(data.units[wanted.chosen].text), ":");
  return el("div", {}, name, table(["word", "place", "share"], rows));
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

// The words with the greatest and the least value.
function extremes(own) {
  const shown = shownUnits();
  const best = (better) => shown.reduce((found, index) => (better(own[index], own[found]) ? index : found), shown[0]);
  return [best((a, b) => a > b), best((a, b) => a < b)];
}

// For each word the range over the heads, and the aggregate or the head that is shown.
function drawChart(shown) {
  const frame = document.getElementById("frame").cloneNode(false);
  frame.removeAttribute("id");
  frame.setAttribute("width", String(STEP * shown.length));
  frame.setAttribute("height", String(HEIGHT));
  const own = values();
  const range = wanted.measure === "rollout" ? null : data.aggregates[wanted.measure];
  const [low, high] = range ? [rowOf(range.min, wanted.layer), rowOf(range.max, wanted.layer)] : [own, own];
  const highest = highestOf((index) => Math.max(own[index], high[index]));
  const ends = extremes(own);
  const y = (value) => HEIGHT - 6 - (value / highest) * (HEIGHT - 12);
  const ordered = data.dir === "rtl" ? [...shown].reverse() : shown;
  ordered.forEach((index, place) => {
    const x = place * STEP + STEP / 2;
    frame.append(line(x, y(low[index]), x, y(high[index]), "#bbb"));
    const dot = shape("circle", { cx: x, cy: y(own[index]), r: 5, fill: ends.includes(index) ? "#c00" : "#06c" });
    const title = shape("title", {});
    title.textContent = `${data.units[index].text} ${rounded(own[index])}`;
    dot.append(title);
    frame.append(dot);
  });
  return el("div", { class: "chart", dir: data.dir }, frame);
}

const ABOUT =
  "Bars: from the lowest to the highest head; dots: what is chosen above, in the order of the text; red: the greatest and the least of all.";
const list = pager(WORDS_A_PAGE, "words", (shown) => [
  drawTokens(shown),
  drawKeys(),
  el("h2", {}, "Across heads"),
  el("p", { class: "about" }, ABOUT),
  drawChart(shown),
]);

function setting(name) {
  return (value) => {
    wanted[name] = value;
    if (name === "specials") list.set(shownUnits());
    else list.redraw();
  };
}

function numbered(count, name) {
  return Array.from({ length: count }, (_, index) => [String(index), `${name} ${index + 1}`]);
}

function namedHeads() {
  return data.names ? data.names.map((name, index) => [String(index), name]) : numbered(heads, "head");
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
    select("head", [["-1", "all heads"], ...namedHeads()], (value) => setting("head")(Number(value))),
    select("across heads", AGGREGATES.map((name) => [name, name]), setting("aggregate")),
    specials(),
  );
  const cut = `The text was read in ${windows} windows, and a word sees those of its own.`;
  document.getElementById("explorer").append(controls, windows > 1 ? el("p", { class: "about" }, cut) : "", list.node);
  list.set(shownUnits());
}

start();
