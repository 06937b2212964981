// The steps of a compiled call: time against the least possible, what each computes, and its code.

const MOST_KERNELS = 120;
const slowest = Math.max(0, ...data.kernels.map((kernel) => Math.max(kernel.ns ?? 0, kernel.floor_ns ?? 0)));

/** A kernel's time as a bar, with a tick at its floor. */
function kernelBar(kernel) {
  const lane = el("span", { class: "lane" }, wide(el("span", { class: "bar graph" }), slowest && known(kernel.ns) ? kernel.ns / slowest : 0));
  if (known(kernel.floor_ns) && slowest) {
    const tick = el("span", { class: "floor" });
    tick.style.left = `${(100 * kernel.floor_ns) / slowest}%`;
    lane.append(tick);
  }
  return lane;
}

/** "2.5 times its floor": how far a kernel is from the least it could take. */
function againstFloor(kernel) {
  if (!known(kernel.ns) || !known(kernel.floor_ns)) return known(kernel.ns) ? time(kernel.ns) : "not timed";
  return `${time(kernel.ns)}, ${digits(kernel.ns / Math.max(kernel.floor_ns, 1))} times its floor of ${time(kernel.floor_ns)}`;
}

function kernelRow(kernel) {
  const press = (event) => select([kernel.id], event.ctrlKey || event.metaKey);
  const button = el("button", { type: "button", "data-id": kernel.id, "aria-pressed": "false", "aria-label": `${kernel.id} ${kernel.title}, ${kernel.kind}, ${againstFloor(kernel)}` }, el("b", {}, kernel.id), ` ${short(kernel.title, 60)}`);
  const row = el("tr", { "data-id": kernel.id, onclick: press });
  row.append(el("td", {}, button), el("td", { class: "quiet" }, kernel.kind), el("td", {}, kernelBar(kernel)), el("td", { class: "amount" }, el("data", { value: kernel.ns ?? "" }, time(kernel.ns))));
  return row;
}

function drawKernels() {
  const heads = ["step", "kind", "time, and a tick at the floor", ""].map((name) => el("th", { scope: "col" }, name));
  const body = el("tbody");
  const order = el("select", { "aria-label": "Order", onchange: () => fill() }, el("option", { value: "time" }, "slowest first"), el("option", { value: "run" }, "in the order they run"));
  const scroller = el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Kernels" }, el("table", { class: "kernels" }, el("thead", {}, el("tr", {}, heads)), body));
  const detail = el("div", { class: "detail" });
  const more = el("button", { type: "button", onclick: () => fill(data.kernels.length) }, `Show all ${count(data.kernels.length)}`);
  let most = MOST_KERNELS;
  function fill(wanted = most) {
    most = wanted;
    const kernels = order.value === "time" ? [...data.kernels].sort((a, b) => (b.ns ?? 0) - (a.ns ?? 0)) : data.kernels;
    body.replaceChildren(...kernels.slice(0, most).map(kernelRow));
    more.hidden = most >= kernels.length;
    mark();
  }
  fill();
  content("kernels").append(el("div", { class: "tools" }, order, el("span", { class: "quiet" }, plural(data.kernels.length, "step")), more), el("div", { class: "split" }, scroller, detail));
  onChange((changes) => {
    if (!("selected" in changes)) return;
    const shown = [...state.selected, ...state.related].find((id) => kernelOf.has(id));
    kernelDetail(detail, kernelOf.get(shown ?? data.summary.largest_kernel));
    const rowOf = (id) => [...body.children].find((element) => element.dataset.id === id);
    if (state.selected.includes(shown) && !rowOf(shown)) fill(data.kernels.length);
    const row = shown && rowOf(shown);
    if (row) reveal(scroller, row);
  });
}

function kernelDetail(detail, kernel) {
  if (!kernel) return detail.replaceChildren(el("h3", {}, "No kernel is selected"), el("p", {}, "Click a step to see what it computes and its code."));
  const terms = [
    ["computes", kernel.ops.join(", ") || DASH],
    ["for lines", kernel.lines.length ? kernel.lines.map((id) => chip(id, chipText(id))) : DASH],
    ["modules", kernel.modules.join(", ") || DASH],
    ["part", kernel.roles.join(", ") || DASH],
    ["time", againstFloor(kernel)],
    ["work", `${flops(kernel.flops)}, ${bytes(kernel.bytes)} read and written`],
    ["how", kernel.how || DASH],
    ["alone because", kernel.alone_because.join("; ") || DASH],
  ];
  const listings = [["In graphc's notation", kernel.text], [`Generated ${kernel.language ?? "code"}`, kernel.code]].filter(([, listing]) => listing);
  detail.replaceChildren(el("h3", {}, `${kernel.id}: ${kernel.title}`), definitions(terms.filter(([, value]) => value !== DASH)), ...listings.map(([name, listing], i) => el("details", { open: i === 0 }, el("summary", {}, name), el("pre", { tabindex: "0" }, el("code", {}, listing)))));
  mark();
}
