const CELL = 5;
const LIKE = 8;
const { layers, heads } = data;
const wanted = { layer: -1, head: -1 };

function nameOf(head) {
  return `layer ${Math.floor(head / heads) + 1} head ${(head % heads) + 1}`;
}

// Lists are of all heads, then of each layer, then of each head.
function listShown() {
  if (wanted.layer < 0) return data.lists[0];
  if (wanted.head < 0) return data.lists[1 + wanted.layer];
  return data.lists[1 + layers + wanted.layer * heads + wanted.head];
}

function bar(share) {
  const node = el("div", { class: "bar" });
  node.style.width = `${(10 * share).toFixed(2)}rem`;
  return node;
}

function drawWords() {
  const rows = listShown();
  const highest = rows.reduce((most, [, , mean]) => Math.max(most, mean), 1e-9);
  const cells = rows.map(([word, count, ...values]) => [word, count, ...values, bar(values[0] / highest)]);
  const scope = wanted.layer < 0 ? "all heads" : wanted.head < 0 ? `layer ${wanted.layer + 1}` : nameOf(wanted.layer * heads + wanted.head);
  const heading = el("h2", {}, `Words of ${scope}`);
  if (!cells.length) return [heading, el("p", { class: "about" }, "No word occurs often enough.")];
  return [heading, table(["word", "count", "mean", "standard deviation", "least", "greatest", ""], cells)];
}

function drawLike() {
  if (wanted.layer < 0 || wanted.head < 0) return [];
  const own = wanted.layer * heads + wanted.head;
  const likeness = [...rowOf(data.similarity, own)].map((share, head) => [head, share]);
  const best = likeness.filter(([head]) => head !== own).sort((a, b) => b[1] - a[1]).slice(0, LIKE);
  return [el("h2", {}, "Heads that do alike"), table(["head", "likeness"], best.map(([head, share]) => [nameOf(head), share.toFixed(4)]))];
}

// Like heads stand together; the darker, the more alike.
function drawHeads() {
  const canvas = document.createElement("canvas");
  const size = data.order.length;
  canvas.width = canvas.height = size * CELL;
  const pen = canvas.getContext("2d");
  data.order.forEach((head, row) => {
    const likeness = rowOf(data.similarity, head);
    data.order.forEach((other, column) => {
      pen.fillStyle = `hsl(210 90% ${(100 - 75 * likeness[other]).toFixed(1)}%)`;
      pen.fillRect(column * CELL, row * CELL, CELL, CELL);
    });
  });
  const told = el("p", { class: "about", "aria-live": "polite" }, "Point at a cell to see its heads.");
  canvas.addEventListener("mousemove", (event) => {
    // A narrow screen shows it smaller than it is.
    const box = canvas.getBoundingClientRect();
    const places = [(event.clientY - box.y) / box.height, (event.clientX - box.x) / box.width];
    const [row, column] = places.map((at) => data.order[Math.min(size - 1, Math.max(0, Math.floor(at * size)))]);
    told.textContent = `${nameOf(row)} and ${nameOf(column)}: ${rowOf(data.similarity, row)[column].toFixed(4)}`;
  });
  return el("section", {}, el("h2", {}, "Likeness of heads"), told, canvas);
}

const place = el("div", {});

function update() {
  place.replaceChildren(...drawWords(), ...drawLike());
}

function choice(name, count, all) {
  const options = [["-1", all], ...Array.from({ length: count }, (_, index) => [String(index), `${name} ${index + 1}`])];
  return select(name, options, (value) => {
    wanted[name] = Number(value);
    update();
  });
}

const controls = el("div", { class: "controls sticky" }, choice("layer", layers, "all layers"), choice("head", heads, "all heads"));
document.getElementById("explorer").append(controls, place, drawHeads());
update();
