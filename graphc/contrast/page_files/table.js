// The graph as a table: the same nodes and edges in words, a page of rows at a time.

const ROWS = 50;
const text = { page: 0, stage: null, wanted: "" };

function textGraph() {
  const filter = el("input", { type: "search", "aria-label": "Only nodes that contain", placeholder: "only nodes that contain …", oninput: () => turn(0) });
  const holder = el("div", { class: "scroller" });
  const details = el("details", { id: "as-table", ontoggle: () => fillTable() }, el("summary", {}, "This stage as a table"), el("div", { class: "tools" }, filter, el("div", { class: "choices pages" })), holder);
  return details;
}

function showTable(stage) {
  text.stage = stage;
  text.page = 0;
  fillTable();
}

function turn(page) {
  text.page = page;
  fillTable();
}

function fillTable() {
  const details = byId("as-table");
  if (!details.open) return details.querySelector(".scroller").replaceChildren();
  const wanted = details.querySelector("input").value.trim().toLowerCase();
  const found = text.stage.nodes.filter((node) => !wanted || wordsOf(node).includes(wanted));
  const pages = Math.max(1, Math.ceil(found.length / ROWS));
  text.page = Math.min(text.page, pages - 1);
  const shown = found.slice(text.page * ROWS, (text.page + 1) * ROWS);
  const reads = new Map(shown.map((node) => [node.id, []]));
  for (const [from, to] of text.stage.edges) reads.get(to)?.push(from);
  const names = new Map(text.stage.nodes.map((node) => [node.id, node.op]));
  const rows = shown.map((node) => [chip(node.id, `${node.id} ${node.op}`), node.type, node.role, node.module, node.lines.map(named).join(", "), node.kernel ?? "", reads.get(node.id).map((id) => `${id} ${names.get(id)}`).join(", ")]);
  details.querySelector(".scroller").replaceChildren(table(`Nodes of ${text.stage.name}`, ["node", "type", "part", "module", "line", "kernel", "reads"], rows));
  const move = (label, page) => el("button", { type: "button", onclick: () => turn(page), disabled: page < 0 || page >= pages }, label);
  details.querySelector(".pages").replaceChildren(move("Back", text.page - 1), el("span", { class: "quiet" }, `${count(found.length)} nodes, page ${text.page + 1} of ${pages}`), move("On", text.page + 1));
  mark();
}

const wordsOf = (node) => `${node.id} ${node.op} ${node.type} ${node.module} ${node.detail ?? ""} ${node.kernel ?? ""}`.toLowerCase();
