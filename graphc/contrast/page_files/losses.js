// The loss of each call by both ways, and their difference.

function drawLosses() {
  const rows = data.losses;
  const left = data.summary.left_behind;
  if (left.length) {
    const why = "Python runs when a step is traced, not when it is replayed. So these differ after the calls:";
    content("losses").append(el("div", { class: "left-behind" }, el("p", {}, why), el("ul", {}, left.map((text) => el("li", { class: "code" }, text)))));
  }
  if (!rows.length) return content("losses").append(el("p", { class: "quiet" }, "The step returns no single number to compare."));
  const numbers = rows.flatMap((row) => [Number(row.eager ?? NaN), Number(row.graph ?? NaN)]).filter(Number.isFinite);
  const high = numbers.length ? Math.max(...numbers) : 1;
  const low = numbers.length ? Math.min(...numbers, 0 <= high ? high : 0) : 0;
  const rim = (high - low || Math.abs(high) || 1) * 0.08;
  const at = (row, name) => [row.call - 1, Number(row[name] ?? NaN)];
  const calls = (parts) => rows.filter((row, i) => i % Math.ceil(rows.length / parts) === 0).map((row) => [row.call - 1, row.call]);
  const both = chart(`Loss by call, from ${exact(rows[0].eager)} to ${exact(rows[rows.length - 1].eager)} eagerly`, 210, (picture, width, height) => {
    const place = frame(width, height, rows.length - 1, high + rim, low - rim);
    axes(picture, place, { x: calls(8), y: Array.from({ length: 4 }, (_, i) => low + ((high - low) * i) / 3).map((value) => [value, digits(value)]), xName: "call" });
    picture.append(line(rows.map((row) => at(row, "graph")), place, "graph", { "stroke-width": 5, opacity: 0.45 }), line(rows.map((row) => at(row, "eager")), place, "eager"));
  });
  const sizes = rows.map((row) => Math.abs(Number(row.difference ?? NaN)));
  const most = Math.max(...sizes.filter(Number.isFinite), 0);
  const apart = chart(`Difference of the losses by call, at most ${exact(data.summary.largest_difference)}`, 210, (picture, width, height) => {
    const place = frame(width, height, rows.length, most || 1);
    axes(picture, place, { x: calls(8).map(([x, name]) => [x + 0.5, name]), y: most ? ticks(most, digits, 3) : [[0, "0"]], xName: "call" });
    const bar = Math.max(place.inner.width / rows.length - 3, 1);
    for (const [n, row] of rows.entries()) {
      const size = Math.min(sizes[n], most || 1);
      if (size > 0) picture.append(svg("rect", { class: "difference", x: place.x(row.call - 1) + 1.5, width: bar, y: place.y(size), height: place.bottom - place.y(size) }));
    }
    if (!sizes.some((size) => size > 0)) picture.append(svg("text", { class: "note", x: width / 2, y: height / 2, "text-anchor": "middle" }, "every call: not one bit apart"));
  });
  const figures = table("Losses by call", ["call", "eager", "graph", "difference"], rows.map((row) => [`${row.call}`, exact(row.eager), exact(row.graph), exact(row.difference)]));
  const charts = el("div", { class: "columns" }, el("figure", {}, el("figcaption", {}, "Loss"), both.holder, legend(["graph", "graph"], ["eager", "eager, on top of it"])), el("figure", {}, el("figcaption", {}, "Difference"), apart.holder));
  content("losses").append(charts, el("details", {}, el("summary", {}, "The numbers"), el("div", { class: "scroller" }, figures)));
}
