// Memory over one call: what eager code holds after each of its ops, what the plan holds while each step runs, and its buffers.

const MOST_BUFFERS = 48;

function drawMemory() {
  const { eager, plan, buffers } = data.memory;
  const { eager_peak_bytes: eagerPeak, plan_peak_bytes: planPeak } = data.summary;
  const high = Math.max(1, eagerPeak ?? 0, planPeak ?? 0, ...plan.map((step) => step.bytes), eager.reduce((most, event) => Math.max(most, event.bytes), 0));
  const left = memoryChart(`Eager: ${bytes(eagerPeak)} at most`, "eager", eager.map((event) => [event.bytes, event.line]), high, "allocations and releases");
  const right = memoryChart(`Plan: ${bytes(planPeak)} at most`, "graph", plan.map((step) => [step.bytes, step.kernel]), high, "steps");
  content("memory").append(el("div", { class: "columns" }, left.element, right.element), bufferChart(buffers, plan.length));
  onChange((changes) => {
    if ("selected" in changes) [left, right].forEach((one) => one.again());
  });
}

/** Live bytes over the events of a call; the events of what is selected are shaded. Clicking selects. */
function memoryChart(title, name, events, high, xName) {
  const { holder, again } = chart(`${title}. ${plural(events.length, "event")}.`, 220, (picture, width, height) => {
    const place = frame(width, height, Math.max(events.length, 1), high * 1.06);
    axes(picture, place, { x: ticks(events.length, (n) => count(Math.round(n))), y: ticks(high, bytes), xName });
    if (!events.length) return;
    let area = `M${place.x(0)} ${place.bottom}`;
    let shaded = "";
    const chosen = new Set([...state.selected, ...state.related]);
    events.forEach(([size, id], i) => {
      const [from, to, y] = [place.x(i).toFixed(1), place.x(i + 1).toFixed(1), place.y(size).toFixed(1)];
      area += `L${from} ${y}H${to}`;
      if (chosen.has(id)) shaded += `M${from} ${place.bottom}V${y}H${to}V${place.bottom}z`;
    });
    picture.append(svg("path", { class: `area ${name}`, d: `${area}V${place.bottom}z` }), svg("path", { class: `area chosen ${name}`, d: shaded }), steps(events.map(([size], i) => [i, size]), place, name, events.length));
  });
  holder.addEventListener("click", (event) => {
    const box = holder.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    const id = events[Math.floor(share * events.length)]?.[1];
    if (id) select([id]);
  });
  return { element: el("figure", {}, el("figcaption", {}, title), holder), again };
}

/** The plan's largest buffers, each from the step that fills it to the last that reads it. */
function bufferChart(buffers, steps) {
  const largest = [...buffers].sort((a, b) => b.bytes - a.bytes);
  const rows = el("ol", { class: "buffers" });
  const more = el("button", { type: "button", onclick: () => fill(largest.length) }, `Show all ${count(buffers.length)}`);
  function fill(most) {
    rows.replaceChildren(...largest.slice(0, most).map((buffer) => bufferRow(buffer, steps)));
    more.hidden = most >= largest.length;
    mark();
  }
  fill(MOST_BUFFERS);
  const shared = buffers.filter((buffer) => buffer.shares_with.length).length;
  onChange((changes) => {
    const wanted = state.selected.find((id) => bufferOf.has(id));
    if ("selected" in changes && wanted && ![...rows.querySelectorAll("button")].some((button) => button.dataset.id === wanted)) fill(largest.length);
  });
  const note = el("p", { class: "quiet" }, `From the step that fills a buffer to the last one that reads it. ${count(shared)} of ${plural(buffers.length, "buffer")} share a place with another.`);
  return el("div", { class: "buffer-chart" }, el("h3", {}, "Buffers of the plan, largest first"), note, rows, more);
}

function bufferRow(buffer, steps) {
  const id = `b:${buffer.name}`;
  const shares = buffer.shares_with.length ? `, shares its place with ${buffer.shares_with.join(", ")}` : "";
  const what = nodeOf.has(buffer.name) ? nodeOf.get(buffer.name).op : buffer.name;
  const label = `buffer ${buffer.name} (${what}), ${bytes(buffer.bytes)}, steps ${buffer.first} to ${buffer.last}${shares}`;
  const life = el("span", { class: `life${shares ? " shared" : ""}` });
  wide(life, (buffer.last - buffer.first + 1) / Math.max(steps, 1), buffer.first / Math.max(steps, 1));
  const button = el("button", { type: "button", "data-id": id, "aria-pressed": "false", "aria-label": label, title: label, onclick: (event) => select([id], event.ctrlKey || event.metaKey) }, el("span", { class: "what" }, el("b", {}, buffer.name), ` ${what === buffer.name ? "" : what}`), el("span", { class: "lane" }, life), el("span", { class: "amount" }, el("data", { value: buffer.bytes }, bytes(buffer.bytes))));
  return el("li", {}, button);
}
