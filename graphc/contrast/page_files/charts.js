// The few charts of the page, drawn as SVG for the width they have, and again when that changes.

/** A chart in a figure: paint(svg element, width, height) is called now and at each new width. */
function chart(label, height, paint) {
  const picture = svg("svg", { role: "img", "aria-label": label, height, class: "chart" });
  const holder = el("div", { class: "chart-holder" }, picture);
  let last = 0;
  const draw = (width) => {
    if (width < 40) return;
    last = width;
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.replaceChildren();
    paint(picture, width, height);
    mark();
  };
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width !== last) draw(width);
  }).observe(holder);
  return { holder, again: () => draw(last) };
}

const MARGIN = { left: 66, right: 16, top: 12, bottom: 30 };

/** Maps data to places: x from 0 to mostX, y from lowY to highY. */
function frame(width, height, mostX, highY, lowY = 0) {
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const x = (value) => MARGIN.left + (inner.width * value) / (mostX || 1);
  const y = (value) => MARGIN.top + inner.height * (1 - (value - lowY) / (highY - lowY || 1));
  return { x, y, inner, bottom: height - MARGIN.bottom, right: width - MARGIN.right };
}

/** Lines and numbers of both axes. */
function axes(picture, place, { x, y, xName }) {
  for (const [value, text] of y) {
    picture.append(svg("line", { class: "grid", x1: MARGIN.left, x2: place.right, y1: place.y(value), y2: place.y(value) }));
    picture.append(svg("text", { class: "tick", x: MARGIN.left - 8, y: place.y(value) + 4, "text-anchor": "end" }, text));
  }
  for (const [value, text] of x) {
    picture.append(svg("text", { class: "tick", x: place.x(value), y: place.bottom + 17, "text-anchor": "middle" }, text));
  }
  if (xName) picture.append(svg("text", { class: "tick", x: place.right, y: place.bottom + 28, "text-anchor": "end" }, xName));
}

const ticks = (most, format, parts = 4) => Array.from({ length: parts + 1 }, (_, i) => [(most * i) / parts, format((most * i) / parts)]);

/** A line through points [x, y]; gaps where y is no number. */
function line(points, place, name, given = {}) {
  let path = "";
  let open = false;
  for (const [x, y] of points) {
    if (!Number.isFinite(y)) {
      open = false;
      continue;
    }
    path += `${open ? "L" : "M"}${place.x(x).toFixed(1)} ${place.y(y).toFixed(1)}`;
    open = true;
  }
  return svg("path", { class: `line ${name}`, d: path, fill: "none", ...given });
}

/** A line that holds its value until the next point. */
function steps(points, place, name, end) {
  let path = "";
  points.forEach(([x, y], i) => {
    path += i ? `H${place.x(x).toFixed(1)}V${place.y(y).toFixed(1)}` : `M${place.x(x).toFixed(1)} ${place.y(y).toFixed(1)}`;
  });
  return svg("path", { class: `line ${name}`, d: `${path}H${place.x(end).toFixed(1)}`, fill: "none" });
}

/** A legend: [class, text] pairs. */
const legend = (...entries) => el("ul", { class: "legend" }, entries.map(([name, text]) => el("li", {}, el("i", { class: `swatch ${name}` }), text)));
