// The stages of the graph: the eager tape, what was recorded, what each pass made of it, the kernels.

/** The stage before a pass; null where there is none to compare with. */
function stageBefore(stage) {
  const i = data.stages.indexOf(stage);
  const before = data.stages[i - 1];
  return (stage.added || stage.removed) && before && before.kind === stage.kind ? before : null;
}

/** What is drawn now: the chosen stage, or, looking at "before", the one it was made from. */
function drawnStage() {
  const stage = stageOf.get(state.stage);
  return (state.side === "before" && stageBefore(stage)) || stage;
}

const levelsOf = (stage) => data.drawings[stage.id];
const READABLE = 0.46; // the least zoom at which a whole drawing can still be read

/** The level that is asked for by name, or the finest that can be read as a whole. */
function chosenLevel(stage, { width, height }) {
  const levels = levelsOf(stage);
  const fits = (level) => level.width * READABLE < width && level.height * READABLE < height;
  return levels.find((level) => level.name === state.level) ?? levels.findLast(fits) ?? levels[0];
}

/** Nodes the pass added (after) or removed (before). */
function marksOf(stage) {
  const ids = state.side === "before" && stageBefore(stage) ? stage.removed : stage.added;
  const mark = state.side === "before" ? "removed" : "added";
  return new Map((ids ?? []).map((id) => [id, mark]));
}

const levelName = (level) => ({ ops: "every op" })[level.name] ?? level.name;

function stageButton(stage) {
  const changed = stage.added || stage.removed ? el("span", { class: "change" }, el("span", { class: "removed" }, `−${count((stage.removed ?? []).length)}`), " ", el("span", { class: "added" }, `+${count((stage.added ?? []).length)}`)) : null;
  const facts = el("span", { class: "quiet" }, plural(stage.nodes.length, "node"), known(stage.ms) ? ` · ${time(stage.ms * 1e6)}` : "");
  const press = () => change({ stage: stage.id, side: "after" });
  return el("li", {}, el("button", { type: "button", "data-stage": stage.id, "aria-pressed": "false", onclick: press }, el("b", {}, stage.name), changed, el("span", { class: "about" }, stage.about), facts));
}

/** What a pass did, op by op: "permute ×4". */
function tally(ids) {
  const found = new Map();
  for (const id of ids) found.set(nodeOf.get(id)?.op ?? id, (found.get(nodeOf.get(id)?.op ?? id) ?? 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1]).map(([op, times]) => (times > 1 ? `${op} ×${times}` : op)).join(", ");
}

function drawGraph() {
  const viewer = new Viewer((id, adding) => select([id], adding));
  walkable(viewer);
  viewer.onOpen = (vertex) => openVertex(viewer, vertex);
  const list = el("ol", { class: "stages", "aria-label": "Stages" }, data.stages.map(stageButton));
  const unchanged = data.unchanged_passes.length ? el("p", { class: "quiet" }, `Passes that found nothing to change: ${data.unchanged_passes.join(", ")}.`) : null;
  const levels = el("div", { class: "choices", role: "group", "aria-label": "Level of detail" });
  const sides = el("div", { class: "choices", role: "group", "aria-label": "Before or after the pass" });
  const zoom = el("div", { class: "choices zoom", role: "group", "aria-label": "Zoom" }, [["+", "Zoom in", () => viewer.zoom(1.3)], ["−", "Zoom out", () => viewer.zoom(1 / 1.3)], ["Fit", "Show all of the graph", () => viewer.fit()]].map(([text, label, act]) => el("button", { type: "button", "aria-label": label, title: label, onclick: act }, text)));
  const note = el("p", { class: "note", id: "stage-note" });
  const inspector = el("div", { class: "detail inspector" });
  const keys = el("p", { class: "quiet hint" }, "Drag to move, wheel to zoom once the graph is clicked. Keys: arrows walk, Enter selects, + − 0 zoom.");
  const roles = legend(["forward", "forward"], ["backward", "backward"], ["update", "update"], ["input", "input or constant"], ["added", "added by the pass"], ["removed", "removed by it"]);
  const tools = el("div", { class: "tools" }, levels, sides, zoom);
  const middleColumn = el("div", { class: "drawn" }, tools, note, viewer.element, roles, keys, textGraph());
  content("graph").append(el("div", { class: "graph-columns" }, el("div", { class: "stage-column" }, list, unchanged), middleColumn, inspector));
  onChange((changes) => {
    if (["stage", "level", "side"].some((name) => name in changes)) showStage(viewer, { levels, sides, note });
    else viewer.marked();
    if ("selected" in changes) bringSelection(viewer);
    inspect(inspector);
  });
}

/** Shows what the state asks for, and sets every control to it. */
function showStage(viewer, { levels, sides, note }) {
  const chosen = stageOf.get(state.stage);
  const stage = drawnStage();
  const level = chosenLevel(stage, viewer.size);
  for (const button of document.querySelectorAll("[data-stage]")) button.setAttribute("aria-pressed", button.dataset.stage === state.stage);
  levels.replaceChildren(...levelsOf(stage).map((one) => choice(levelName(one), one === level, () => change({ level: one.name }), plural(one.vertices.length, "vertex").replace("vertexs", "vertices"))));
  sides.replaceChildren(...(stageBefore(chosen) ? ["before", "after"].map((side) => choice(side, state.side === side, () => change({ side }))) : []));
  const added = chosen.added ?? [];
  const removed = chosen.removed ?? [];
  const did = added.length + removed.length ? `Removed ${removed.length ? tally(removed) : "nothing"}; added ${added.length ? tally(added) : "nothing"}.` : "";
  note.replaceChildren(el("b", {}, chosen.name), `: ${chosen.about} ${did}`);
  viewer.element.setAttribute("aria-label", `${stage.name}, ${levelName(level)}: ${plural(stage.nodes.length, "node")}. Arrow keys walk along edges, Enter selects.`);
  viewer.show(stage, level, marksOf(chosen));
  showTable(stage);
}

const choice = (text, pressed, act, title = null) => el("button", { type: "button", "aria-pressed": String(pressed), onclick: act, title }, text);

/** Opens a vertex that stands for several nodes: the next finer level, at its first node. */
function openVertex(viewer, vertex) {
  if (!vertex.nodes) return;
  const all = levelsOf(viewer.stage);
  const finer = all[all.indexOf(viewer.level) + 1];
  if (!finer) return;
  change({ level: finer.name });
  const number = viewer.owner.get(vertex.nodes[0]);
  if (number !== undefined) viewer.bring([number]);
}

/** Lets the graph show what was selected elsewhere; another stage is chosen if this one lacks it. */
function bringSelection(viewer) {
  const nodes = state.selected.filter((id) => kindOf(id) === "node");
  if (nodes.length && !nodes.some((id) => viewer.owner.has(id))) {
    const stages = stagesOf.get(nodes[0]);
    change({ stage: stages[stages.length - 1], side: "after" });
  }
  const chosen = viewer.chosen();
  if (chosen.length && !chosen.includes(viewer.at)) viewer.bring(chosen);
}

/** All that is known of the selected node, with ways on: line, kernel, operands, users. */
function inspect(inspector) {
  const id = state.selected.find((one) => kindOf(one) === "node" || kindOf(one) === "module");
  if (!id) return inspectRelated(inspector);
  if (kindOf(id) === "module") return inspectModule(inspector, moduleOf.get(id));
  const stage = drawnStage();
  const node = stage.nodes.find((one) => one.id === id) ?? nodeOf.get(id);
  const ends = (mine, other) => stage.edges.filter((edge) => edge[mine] === id).map((edge) => edge[other]);
  const chips = (ids) => (ids.length ? [...new Set(ids)].slice(0, 8).map((one) => chip(one, `${nodeOf.get(one)?.op ?? one}`)) : DASH);
  const terms = [
    ["type", node.type],
    ["part", node.role],
    ["module", node.module || DASH],
    ["from", node.lines.length ? node.lines.map((line) => chip(line, chipText(line))) : DASH],
    ["kernel", node.kernel ? chip(node.kernel, short(named(node.kernel), 30)) : DASH],
    ["reads", chips(ends(1, 0))],
    ["read by", chips(ends(0, 1))],
    ["more", node.detail || DASH],
  ];
  inspector.replaceChildren(el("h3", {}, node.op), definitions(terms.filter(([, value]) => value !== DASH)));
  mark();
}

/** Without a node of its own, what belongs to the selection in this stage, op by op. */
function inspectRelated(inspector) {
  const own = drawnStage().nodes.filter((node) => state.related.has(node.id)).map((node) => node.id);
  if (!state.selected.length) return inspector.replaceChildren(el("h3", {}, "No op is selected"), el("p", {}, "Click a vertex, or choose a line or a kernel. Double-click opens a module."));
  const more = own.slice(0, 12).map((id) => chip(id, nodeOf.get(id).op));
  inspector.replaceChildren(el("h3", {}, `${plural(own.length, "op")} of ${state.selected.map(named).join(", ")}`), el("p", {}, own.length ? tally(own) : "Nothing of it is in this stage."), el("p", {}, more));
  mark();
}

function inspectModule(inspector, whole) {
  const nodes = [...whole.nodes];
  const rows = [["part", whole.role], ["ops", tally(nodes)], ["nodes", `${plural(nodes.length, "node")} in all stages together`]];
  inspector.replaceChildren(el("h3", {}, whole.name), definitions(rows));
}
