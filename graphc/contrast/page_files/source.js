// The user's source: beside each line its share of a call, by both ways, and what became of it.

/** A bar for one line and one way: forward, then the part its gradient took. */
function costBar(line, mode) {
  const share = line[`${mode}_share`];
  if (!known(share)) return el("span", { class: "quiet" }, DASH);
  const whole = line[`${mode}_ns`];
  const backward = whole ? (line[`backward_${mode}_ns`] ?? 0) / whole : 0;
  const most = Math.max(...data.lines.map((other) => Math.max(other.eager_share ?? 0, other.graph_share ?? 0)));
  const bar = el("span", { class: `bar ${mode}` }, wide(el("span", { class: "forward" }), 1 - backward), wide(el("span", { class: "backward" }), backward));
  const text = `${mode}: ${percent(share)}, ${time(whole)}, of which backward ${time(line[`backward_${mode}_ns`])}`;
  return el("span", { class: "cost", title: text }, el("span", { class: "lane" }, wide(bar, most ? share / most : 0)), el("data", { value: share, class: "amount" }, percent(share)));
}

function sourceRow(number, text, line) {
  const code = line ? el("button", { type: "button", "data-id": line.id, "aria-pressed": "false", "aria-label": `line ${number}: ${text.trim()}` }, text || " ") : el("code", {}, text || " ");
  const press = line ? (event) => select([line.id], event.ctrlKey || event.metaKey) : null;
  const cells = line ? [costBar(line, "eager"), costBar(line, "graph")] : ["", ""];
  const row = el("tr", { class: line ? "costs" : "", "data-id": line ? line.id : null, ...(press ? { onclick: press } : {}) });
  row.append(el("th", { scope: "row", class: "number" }, String(number)), ...cells.map((cell) => el("td", {}, cell)), el("td", { class: "code" }, code));
  return row;
}

/** One file; its rows are made once. */
function sourceTable(source) {
  const lines = new Map(data.lines.filter((line) => line.source === source.id).map((line) => [line.line, line]));
  const rows = source.lines.map((text, i) => sourceRow(i + 1, text, lines.get(i + 1)));
  const heads = ["", "eager", "graph", source.file].map((text) => el("th", { scope: "col" }, text));
  return el("table", { class: "source" }, el("caption", { class: "unseen" }, `${source.file} with the cost of each line`), el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows));
}

function drawSource() {
  const panels = data.sources.map((source) => [source, sourceTable(source)]);
  const scroller = el("div", { class: "scroller code-scroller", tabindex: "0", role: "region", "aria-label": "Source with costs" });
  const choice = el("select", { "aria-label": "File", onchange: () => show(choice.value) }, data.sources.map((source) => el("option", { value: source.id }, source.file)));
  const only = el("input", { type: "checkbox", id: "only", onchange: () => scroller.classList.toggle("only", only.checked) });
  const detail = el("div", { class: "detail" });
  let shown = null;
  function show(id) {
    if (id === shown) return;
    shown = choice.value = id;
    scroller.replaceChildren(panels.find(([source]) => source.id === id)?.[1] ?? el("p", { class: "quiet" }, "No source was found."));
    mark();
    const first = scroller.querySelector(".costs");
    if (first) reveal(scroller, first);
  }
  const bar = el("div", { class: "tools" }, data.sources.length > 1 ? choice : null, el("label", {}, only, " only lines that cost"), legend(["eager", "eager"], ["graph", "graph"], ["shade", "darker: backward"]));
  content("source").append(bar, el("div", { class: "split" }, scroller, detail));
  const hottest = lineOf.get(data.summary.slowest_line) ?? lineOf.get(data.summary.slowest_line_eager) ?? data.lines[0];
  show((hottest ?? { source: data.sources[0]?.id }).source);
  onChange((changes) => {
    if (!("selected" in changes)) return;
    const line = linesOfSelection()[0];
    if (line) show(line.source);
    lineDetail(detail, line ?? hottest);
    const row = line && [...scroller.querySelectorAll("tr")].find((element) => element.dataset.id === line.id);
    if (row) reveal(scroller, row);
  });
}

/** Lines that are selected, or else those that belong to what is. */
function linesOfSelection() {
  const own = state.selected.filter((id) => lineOf.has(id));
  return (own.length ? own : [...state.related].filter((id) => lineOf.has(id))).map((id) => lineOf.get(id));
}

/** What became of a line, and how much time belongs to no line. */
function lineDetail(detail, line) {
  const outside = `Of an eager call ${time(data.outside.eager_ns)}, of a compiled one ${time(data.outside.graph_ns)} belong to no line.`;
  if (!line) return detail.replaceChildren(el("h3", {}, "No line made an op"), el("p", { class: "quiet" }, outside));
  const terms = [
    ["modules", line.modules.join(", ") || DASH],
    ["ops", line.ops.join(", ") || DASH],
    ["kernels", line.kernels.length ? line.kernels.map((id) => chip(id, id)) : DASH],
    ["work", `${flops(line.flops)}, ${bytes(line.bytes)} read and written`],
    ["eager", `${time(line.eager_ns)}, of which backward ${time(line.backward_eager_ns)}`],
    ["graph", `${time(line.graph_ns)}, of which backward ${time(line.backward_graph_ns)}`],
  ];
  detail.replaceChildren(el("h3", {}, `Line ${line.line}`), el("pre", {}, el("code", {}, line.text.trim())), definitions(terms), el("p", { class: "quiet aside" }, outside));
  mark();
}

const definitions = (terms) => el("dl", {}, terms.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));
