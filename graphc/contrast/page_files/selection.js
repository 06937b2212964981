// One selection for the whole page. Panels ask `state`, call `select`, and are told by `onChange`; the address keeps it.

const state = { selected: [], related: new Set(), stage: null, level: null, side: "after", theme: null };
const listeners = [];
const onChange = (listener) => listeners.push(listener);

/** Selects ids, or adds them to what is selected; unknown ids are left out. */
function select(ids, adding = false) {
  const wanted = ids.filter((id) => kindOf(id) !== null);
  const toggled = adding ? [...state.selected.filter((id) => !wanted.includes(id)), ...wanted.filter((id) => !state.selected.includes(id))] : wanted;
  change({ selected: toggled });
  const parts = summaryOf(state.related).map(([kind, members]) => plural(members.length, kind));
  say(toggled.length ? `Selected ${toggled.map(named).join("; ")}. Belongs to it: ${parts.join(", ") || "nothing"}.` : "Nothing is selected.");
}

/** Changes the state, tells every panel, and writes the address. */
function change(changes) {
  Object.assign(state, changes);
  state.related = related(state.selected);
  listeners.forEach((listener) => listener(changes));
  mark();
  writeAddress();
}

/** Ids by kind, in the order in which one walks from a line to memory. */
function summaryOf(ids) {
  const kinds = new Map(["line", "module", "node", "kernel", "buffer"].map((kind) => [kind, []]));
  for (const id of ids) kinds.get(kindOf(id))?.push(id);
  return [...kinds].filter(([, members]) => members.length);
}

/** Marks everything on the page that carries the id of something selected or related. The graph marks itself. */
function mark() {
  for (const element of document.querySelectorAll("[data-id]")) {
    const id = element.dataset.id;
    const selected = state.selected.includes(id);
    element.classList.toggle("selected", selected);
    element.classList.toggle("related", !selected && state.related.has(id));
    if (element.hasAttribute("aria-pressed")) element.setAttribute("aria-pressed", selected);
  }
}

/** A button that selects an id. */
function chip(id, text, given = {}) {
  const press = (event) => select([id], event.ctrlKey || event.metaKey);
  return el("button", { type: "button", class: "chip", "data-id": id, "aria-pressed": "false", onclick: press, ...given }, text);
}

/** Where each kind of thing is shown. */
const SECTION = { line: "source", module: "graph", node: "graph", kernel: "kernels", buffer: "memory" };

function drawSelection() {
  const bar = byId("selection");
  bar.hidden = state.selected.length === 0;
  document.body.classList.toggle("selecting", !bar.hidden);
  if (bar.hidden) return bar.replaceChildren();
  const groups = summaryOf([...state.selected, ...state.related]).map(([kind, ids]) => {
    const ordered = [...ids].sort((a, b) => state.selected.includes(b) - state.selected.includes(a));
    const chips = ordered.slice(0, 2).map((id) => chip(id, chipText(id), { onclick: (event) => follow(event, id) }));
    const rest = ids.length > 2 ? el("span", { class: "quiet" }, `+${count(ids.length - 2)}`) : null;
    return el("div", { class: "group" }, el("span", { class: "quiet" }, kind), chips, rest);
  });
  const clear = el("button", { type: "button", class: "clear", onclick: () => select([]) }, "Clear", el("kbd", {}, "Esc"));
  bar.replaceChildren(...groups, clear);
  mark();
}

/** A chip of the bar selects and goes to where its thing is shown. */
function follow(event, id) {
  select([id], event.ctrlKey || event.metaKey);
  byId(SECTION[kindOf(id)]).scrollIntoView({ block: "start" });
}

function chipText(id) {
  switch (kindOf(id)) {
    case "line": return `${lineOf.get(id).line}  ${short(lineOf.get(id).text.trim(), 28)}`;
    case "kernel": return short(named(id), 24);
    case "node": return nodeOf.get(id).op;
    case "buffer": return `${bufferOf.get(id).name} · ${bytes(bufferOf.get(id).bytes)}`;
    default: return short(named(id), 28);
  }
}

// The address: #select=L3,K1&stage=S2&level=ops&side=before&theme=dark

function writeAddress() {
  const parts = new URLSearchParams();
  if (state.selected.length) parts.set("select", state.selected.join(","));
  for (const name of ["stage", "level"]) if (state[name]) parts.set(name, state[name]);
  if (state.side !== "after") parts.set("side", state.side);
  if (state.theme) parts.set("theme", state.theme);
  try {
    history.replaceState(null, "", `#${parts}`);
  } catch {
    // A notebook's frame has no address to write: the page works without.
  }
}

/** What the address asks for; a plain anchor asks for nothing. */
function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const stage = stageOf.has(parts.get("stage")) ? parts.get("stage") : state.stage;
  const theme = ["dark", "light"].includes(parts.get("theme")) ? parts.get("theme") : state.theme;
  const selected = parts.has("select") ? parts.get("select").split(",").filter((id) => kindOf(id)) : state.selected;
  const side = parts.get("side") === "before" ? "before" : "after";
  return { stage, theme, selected, side, level: parts.get("level") ?? state.level };
}
