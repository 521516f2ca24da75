const DOCUMENTS_A_PAGE = 20;
const ROWS_A_PAGE = 50;
// Vowel signs, signs of recitation, tatweel; and what nobody sees, such as direction marks.
const UNSEEN = /[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed]|\p{Cf}/gu;
const wanted = { view: "documents", layer: "entities", label: "", lang: "", link: "", text: "" };

// Texts are compared without case, compatibility forms, unseen characters, and kinds of white space. Capitals know no
// other form of a letter at the end of a word.
function folded(text) {
  return text.normalize("NFKC").toUpperCase().replace(UNSEEN, "").replace(/\s+/g, " ");
}

function linkOf(mention) {
  if (!("link" in mention)) return "none";
  return mention.link === null ? "nil" : "linked";
}

function mentionsOf(doc) {
  return Object.hasOwn(doc.layers, wanted.layer) ? doc.layers[wanted.layer] : [];
}

function isWanted(mention) {
  return (!wanted.label || mention.label === wanted.label) && (!wanted.link || linkOf(mention) === wanted.link);
}

function haystack(doc) {
  if (doc.folded === undefined) {
    const links = Object.values(doc.layers).flat().map((mention) => mention.link || "");
    doc.folded = [doc.text, doc.id, doc.file, ...new Set(links)].map(folded).join("\n");
  }
  return doc.folded;
}

function foundDocuments() {
  const text = folded(wanted.text.trim());
  const bySpan = wanted.label || wanted.link;
  return data.documents.filter(
    (doc) =>
      (!wanted.lang || doc.lang === wanted.lang) &&
      (!text || haystack(doc).includes(text)) &&
      (!bySpan || mentionsOf(doc).some(isWanted)),
  );
}

// Mentions that have the text or link that is looked for; of a document whose id or file has it, all.
function foundMentions(documents) {
  const looked = folded(wanted.text.trim());
  const rows = new Map();
  for (const doc of documents) {
    const every = [doc.id, doc.file].some((name) => folded(name).includes(looked));
    for (const mention of mentionsOf(doc).filter(isWanted)) {
      const text = doc.text.slice(mention.start, mention.end);
      if (!every && ![text, mention.link || ""].some((part) => folded(part).includes(looked))) continue;
      const key = JSON.stringify([text, mention.label, linkOf(mention), mention.link]);
      if (!rows.has(key)) rows.set(key, { text, mention, count: 0 });
      rows.get(key).count += 1;
    }
  }
  return [...rows.values()].sort((a, b) => b.count - a.count);
}

function linkText(mention) {
  return { linked: mention.link, nil: "NIL", none: "" }[linkOf(mention)];
}

function paint(node, label) {
  let hue = 0;
  for (const char of label) hue = (hue * 31 + char.codePointAt(0)) % 360;
  node.style.backgroundColor = Object.hasOwn(data.colors, label) ? data.colors[label] : `hsl(${hue} 75% 82%)`;
}

// Mentions that overlap are one run, and isolated as a whole: isolated piece by piece, the words of a right-to-left
// mention would change places.
function runs(mentions) {
  const found = [];
  for (const mention of [...mentions].sort((a, b) => a.start - b.start || b.end - a.end)) {
    const last = found[found.length - 1];
    if (last && mention.start < last.end) {
      last.mentions.push(mention);
      last.end = Math.max(last.end, mention.end);
    } else {
      found.push({ start: mention.start, end: mention.end, mentions: [mention] });
    }
  }
  return found;
}

// The pieces of a run with the labels that end inside it, and those at its end, the innermost first, in the direction
// of the text around it.
function drawRun(text, run) {
  const cuts = [...new Set(run.mentions.flatMap((mention) => [mention.start, mention.end]))].sort((a, b) => a - b);
  const inner = el("bdi", {});
  const after = [];
  let start = run.start;
  for (const end of cuts) {
    const inside = run.mentions.filter((mention) => mention.start <= start && mention.end >= end && start < end);
    if (inside.length) {
      const shortest = inside.reduce((best, mention) => (mention.end - mention.start < best.end - best.start ? mention : best));
      const isOther = !inside.some(isWanted);
      const mark = el("mark", isOther ? { class: "other" } : {}, text.slice(start, end));
      if (!isOther) paint(mark, shortest.label);
      inner.append(mark);
    }
    const labels = run.mentions.filter((mention) => mention.end === end).reverse().map(drawLabel);
    if (end === run.end) after.push(...labels);
    else inner.append(...labels);
    start = end;
  }
  return [inner, ...after];
}

function drawLabel(mention) {
  const link = linkText(mention);
  return el("span", { class: "label" }, mention.label, link ? " " : null, link ? isolate(link) : null);
}

function drawText(doc) {
  const node = el("p", { class: "text", dir: doc.dir, lang: doc.lang });
  let last = 0;
  for (const run of runs(mentionsOf(doc))) {
    node.append(doc.text.slice(last, run.start), ...drawRun(doc.text, run));
    last = run.end;
  }
  node.append(doc.text.slice(last));
  return node;
}

// What is folded away is drawn when it is opened.
function folding(title, draw) {
  const node = el("details", {}, el("summary", {}, title));
  node.addEventListener("toggle", () => node.open && node.children.length === 1 && node.append(draw()));
  return node;
}

function candidateText(candidate) {
  const share = candidate.probability === null ? "" : ` ${candidate.probability.toFixed(3)}`;
  const id = candidate.name ? [" ", isolate(candidate.id)] : [];
  return el("div", {}, isolate(candidate.name || candidate.id), ...id, share);
}

function mentionTable(doc) {
  const rows = mentionsOf(doc).map((mention) => [
    doc.text.slice(mention.start, mention.end),
    mention.label,
    mention.score === undefined ? "" : mention.score.toFixed(3),
    linkText(mention),
    mention.reason || "",
    el("div", {}, ...(mention.candidates || []).map(candidateText)),
  ]);
  return table(["mention", "label", "score", "link", "why NIL", "candidates"], rows);
}

function neighbourTable(doc) {
  const rows = doc.neighbours.map((hit) => [hit.score === null ? "" : hit.score.toFixed(3), hit.id, hit.text]);
  return table(["score", "neighbour", "text"], rows);
}

function drawDocument(doc) {
  const about = el("p", { class: "about", dir: "ltr" });
  [doc.id, doc.lang, `${doc.file}, ${doc.position}`].filter(Boolean).forEach((part, index) => {
    about.append(index ? " · " : "", isolate(part));
  });
  if (doc.characters > [...doc.text].length) {
    about.append(` · the start of ${doc.characters.toLocaleString("en")} characters; ${doc.beyond} mentions lie beyond`);
  }
  const count = mentionsOf(doc).length;
  return el(
    "article",
    {},
    about,
    drawText(doc),
    count ? folding(`${count} mentions`, () => mentionTable(doc)) : null,
    doc.neighbours.length ? folding(`${doc.neighbours.length} neighbours`, () => neighbourTable(doc)) : null,
  );
}

function drawMentions(rows) {
  const columns = ["mention", "label", "link", "mentions"];
  return [table(columns, rows.map((row) => [row.text, row.mention.label, linkText(row.mention), row.count]))];
}

function counted(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

function options(values, all) {
  return [["", all], ...counted(values).map(([value, count]) => [value, `${value} (${count.toLocaleString("en")})`])];
}

const documentList = pager(DOCUMENTS_A_PAGE, "documents", (documents) => documents.map(drawDocument));
const mentionList = pager(ROWS_A_PAGE, "different mentions", drawMentions);

function update() {
  const found = foundDocuments();
  const byDocument = wanted.view === "documents";
  documentList.node.hidden = !byDocument;
  mentionList.node.hidden = byDocument;
  if (byDocument) documentList.set(found);
  else mentionList.set(foundMentions(found));
}

function setting(name) {
  return (value) => {
    wanted[name] = value;
    update();
  };
}

function search() {
  const box = el("input", { type: "search", dir: "auto", "aria-label": "text or id" });
  box.addEventListener("input", () => setting("text")(box.value));
  return el("label", {}, "text or id", box);
}

function showRejections() {
  const columns = ["place", "code", "reason", "record"];
  const list = pager(ROWS_A_PAGE, "records in quarantine", (rows) => [
    table(columns, rows.map((row) => [row.place, row.code, row.reason, row.raw])),
  ]);
  const codes = options(data.rejections.map((row) => row.code), "all");
  const choose = (code) => list.set(data.rejections.filter((row) => !code || row.code === code));
  choose("");
  const shown = `${data.rejections.length.toLocaleString("en")} of ${data.quarantined.toLocaleString("en")} are in this page.`;
  return [el("h2", {}, "Quarantine"), el("p", { class: "about" }, shown), el("div", { class: "controls" }, select("code", codes, choose)), list.node];
}

function start() {
  const layers = [...new Set(data.documents.flatMap((doc) => Object.keys(doc.layers)))];
  const mentions = data.documents.flatMap((doc) => Object.values(doc.layers).flat());
  const labels = counted(mentions.map((mention) => mention.label)).map(([label]) => [label, label]);
  const links = [["", "any"], ["linked", "linked"], ["nil", "NIL"], ["none", "not looked for"]];
  const shown = `${data.documents.length.toLocaleString("en")} of ${data.total.toLocaleString("en")} documents are in this page.`;
  const controls = el(
    "div",
    { class: "controls sticky" },
    select("show", [["documents", "documents"], ["mentions", "mentions"]], setting("view")),
    layers.length > 1 ? select("layer", layers.map((layer) => [layer, layer]), setting("layer")) : null,
    select("label", [["", "all"], ...labels], setting("label")),
    select("language", options(data.documents.map((doc) => doc.lang), "all"), setting("lang")),
    select("link", links, setting("link")),
    search(),
  );
  const parts = [el("h2", {}, "Documents"), el("p", { class: "about" }, shown), controls, documentList.node, mentionList.node];
  document.getElementById("explorer").append(...parts, ...(data.quarantined ? showRejections() : []));
  update();
}

start();
