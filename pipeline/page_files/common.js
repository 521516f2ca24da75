"use strict";

// Whatever the data hold becomes a text node or the value of a harmless attribute, never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const ATTRIBUTES = new Set(["class", "dir", "lang", "title", "type", "value", "scope", "colspan", "aria-live", "aria-label", "aria-pressed"]);

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (!ATTRIBUTES.has(name)) throw new Error(`attribute ${name}`);
    node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// A text of its own direction, whatever stands around it.
function isolate(text) {
  return el("bdi", { dir: "auto" }, String(text));
}

function cell(value) {
  const isNumber = typeof value === "number";
  return el("td", isNumber ? { class: "number" } : {}, isNumber ? rounded(value) : value instanceof Node ? value : isolate(value));
}

function rounded(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(4);
}

function table(columns, rows) {
  const heads = columns.map((column) => el("th", { scope: "col" }, column));
  const lines = rows.map((row) => el("tr", {}, ...row.map(cell)));
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...lines));
}

function select(name, options, onChange) {
  const box = el("select", { "aria-label": name }, ...options.map(([value, text]) => el("option", { value }, text)));
  box.addEventListener("change", () => onChange(box.value));
  return el("label", {}, name, box);
}

function button(text, onClick) {
  const box = el("button", { type: "button" }, text);
  box.addEventListener("click", onClick);
  return box;
}

// The numbers of a packed array that differ in the last place only, given all places before.
function rowOf(packed, ...places) {
  if (!packed.view) packed.view = new DataView(Uint8Array.from(atob(packed.data), (char) => char.charCodeAt(0)).buffer);
  const size = packed.shape.at(-1);
  const row = places.reduce((sum, place, axis) => sum * packed.shape[axis] + place, 0);
  return Float64Array.from({ length: size }, (_, index) => packed.view.getUint16(2 * (row * size + index), true) * packed.unit);
}

// A list of which so many items are shown at once.
function pager(size, unit, draw) {
  let items = [];
  let page = 0;
  const count = el("span", { "aria-live": "polite", class: "count" });
  const place = el("div", {});
  const back = button("Previous", () => turn(-1));
  const ahead = button("Next", () => turn(1));
  function turn(step) {
    page += step;
    show();
  }
  function show() {
    const pages = Math.max(1, Math.ceil(items.length / size));
    count.textContent = `${items.length.toLocaleString("en")} ${unit}, page ${page + 1} of ${pages}`;
    back.disabled = page === 0;
    ahead.disabled = page + 1 >= pages;
    place.replaceChildren(...draw(items.slice(page * size, (page + 1) * size)));
  }
  return {
    node: el("section", {}, el("div", { class: "pager" }, back, ahead, count), place),
    redraw: show,
    set(found) {
      items = found;
      page = 0;
      show();
    },
  };
}
