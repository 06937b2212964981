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

/** Time spent after 0, 1, ... calls: what was measured, then `each` for every call more. */
function spent(calls, each, last) {
  const points = [[0, 0]];
  for (const call of calls.slice(0, last)) points.push([points.length, points[points.length - 1][1] + total(call)]);
  const [n, sum] = points[points.length - 1];
  if (n < last) points.push([last, sum + each * (last - n)]);
  return points;
}

/** The value at x of points whose x go up, along the straight line between two. */
function valueAt(points, x) {
  const i = Math.max(1, points.findIndex(([place]) => place >= x));
  const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
  return y0 + ((y1 - y0) * (x - x0)) / (x1 - x0);
}

/** Time spent after n calls by each way, and the point from which building has paid. */
function breakEven() {
  const { eager_ns: eager, graph_ns: graph, break_even_calls: calls } = data.summary;
  if (!known(eager) || !known(graph)) return el("p", { class: "quiet" }, "There are no times to add up.");
  const last = roundUp(Math.max(known(calls) ? 1.6 * calls : 0, data.summary.calls ?? 0, 10));
  const lines = { eager: spent(data.timelines.eager, eager, last), graph: spent(data.timelines.graph, graph, last) };
  const high = Math.max(valueAt(lines.eager, last), valueAt(lines.graph, last));
  const title = known(calls) ? `Time spent after n calls: the graph has caught up after ${plural(calls, "call")}` : "Time spent after n calls: the graph does not catch up";
  const { holder } = chart(title, 230, (picture, width, height) => {
    const place = frame(width, height, last, high * 1.05);
    axes(picture, place, { x: ticks(last, (n) => count(Math.round(n))), y: ticks(high, time), xName: "calls" });
    for (const mode of ["eager", "graph"]) picture.append(line(lines[mode], place, mode));
    if (known(calls)) markBreakEven(picture, place, place.x(calls), place.y(valueAt(lines.eager, calls)), `has paid after ${plural(calls, "call")}`);
  });
  const measured = plural(data.timelines.graph.length, "call");
  return el("figure", {}, el("figcaption", {}, title), holder, legend(["eager", "eager"], ["graph", "graph: starts with the build"]), el("p", { class: "quiet" }, `The first ${measured} as measured, later ones as their median.`));
}

/** A ring where both have spent the same, with its text on the side that has room for it. */
function markBreakEven(picture, place, x, y, text) {
  const room = 8 * text.length;
  picture.append(svg("line", { class: "marker", x1: x, x2: x, y1: y, y2: place.bottom }), svg("circle", { class: "marker", cx: x, cy: y, r: 5 }));
  if (x + room < place.right) picture.append(svg("text", { class: "note", x: x + 12, y: y + 20 }, text));
  else if (x - room > MARGIN.left) picture.append(svg("text", { class: "note", x: x - 12, y: y - 8, "text-anchor": "end" }, text));
}
