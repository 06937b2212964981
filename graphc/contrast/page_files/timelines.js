// What happens at call 1, 2, ..., N of both ways, and when the time spent on building has come back.

const total = (call) => call.phases.reduce((sum, phase) => sum + phase.ns, 0);
const phaseClass = (name) => `phase-${name.replace(/\W+/g, "-")}`;
const phaseList = (call) => call.phases.map((phase) => `${phase.name} ${time(phase.ns)}`).join(", ");

/** A call as a bar of its phases, as long as its share of `most`. */
function callBar(call, most) {
  const sum = total(call);
  const parts = call.phases.map((phase) => wide(el("span", { class: `phase ${phaseClass(phase.name)}` }), sum ? phase.ns / sum : 0));
  const text = `call ${call.call}: ${time(sum)} (${phaseList(call)})`;
  return wide(el("span", { class: "bar", role: "img", "aria-label": text, title: text }, parts), most ? sum / most : 0);
}

/** A call with its number, its bar and its time. */
function callRow(mode, call, most) {
  const amount = figure(`${mode}_call_${call.call}`, total(call), time(total(call)));
  return el("li", {}, el("span", { class: "number" }, `${call.call}`), el("span", { class: "lane" }, callBar(call, most)), el("span", { class: "amount" }, amount));
}

/** The first call of one way: the bar, and its phases written out. */
function firstCall(mode, name, call, most) {
  const phases = call.phases.map((phase) => el("li", {}, el("i", { class: `swatch ${phaseClass(phase.name)}` }), `${phase.name} ${time(phase.ns)}`));
  return el("div", { class: `calls ${mode}` }, el("h3", {}, name), el("ol", { class: "tall" }, callRow(mode, call, most)), el("ul", { class: "legend" }, phases));
}

function laterCalls(mode, name, calls, most) {
  return el("div", { class: `calls ${mode}` }, el("h3", {}, name), el("ol", {}, calls.map((call) => callRow(mode, call, most))));
}

/** First calls on one scale; the later ones on a scale of their own, since a build would hide them. */
function drawTimelines() {
  const { eager, graph } = data.timelines;
  const most = (calls) => Math.max(0, ...calls.map(total));
  const first = most([...eager.slice(0, 1), ...graph.slice(0, 1)]);
  const later = most([...eager.slice(1), ...graph.slice(1)]);
  const names = [...new Set([...eager.slice(1), ...graph.slice(1)].flatMap((call) => call.phases.map((phase) => phase.name)))];
  const firsts = el("div", { class: "columns" }, eager.slice(0, 1).map((call) => firstCall("eager", "Eager: the first call", call, first)), graph.slice(0, 1).map((call) => firstCall("graph", "Graph: the first call builds", call, first)));
  const rest = el("div", { class: "columns" }, laterCalls("eager", "Eager: every later call", eager.slice(1), later), laterCalls("graph", "Graph: every later call", graph.slice(1), later));
  content("timelines").append(firsts, rest, legend(...names.map((name) => [phaseClass(name), name])), breakEven());
}

/** Time spent after n calls by each way, from the medians, with the point where the lines cross. */
function breakEven() {
  const { eager_ns: eager, graph_ns: graph, build_ns: build, break_even_calls: calls } = data.summary;
  if (![eager, graph, build].every(known)) return el("p", { class: "quiet" }, "There are no times to add up.");
  const last = roundUp(Math.max(known(calls) ? 1.6 * calls : 0, data.summary.calls ?? 0, 10));
  const high = Math.max(eager * last, build + graph * last);
  const title = known(calls) ? `Time spent after n calls: the graph has caught up after ${plural(calls, "call")}` : "Time spent after n calls: the graph does not catch up";
  const { holder } = chart(title, 230, (picture, width, height) => {
    const place = frame(width, height, last, high * 1.05);
    axes(picture, place, { x: ticks(last, (n) => count(Math.round(n))), y: ticks(high, time), xName: "calls" });
    picture.append(line([[0, 0], [last, eager * last]], place, "eager"), line([[0, build], [last, build + graph * last]], place, "graph"));
    if (!known(calls)) return;
    const at = { x: place.x(calls), y: place.y(eager * calls) };
    picture.append(svg("line", { class: "marker", x1: at.x, x2: at.x, y1: at.y, y2: place.bottom }), svg("circle", { class: "marker", cx: at.x, cy: at.y, r: 5 }));
    const side = at.x > width * 0.6 ? ["end", -12] : ["start", 12];
    picture.append(svg("text", { class: "note", x: at.x + side[1], y: at.y + (side[0] === "end" ? -8 : 22), "text-anchor": side[0] }, `has paid after ${plural(calls, "call")}`));
  });
  return el("figure", {}, el("figcaption", {}, title), holder, legend(["eager", "eager"], ["graph", "graph: starts with the build"]));
}
