// The graph: one drawing (a stage at a level), of which only what can be seen is in the document.

const FAR = 900; // pixels of height beyond which an edge is drawn faintly
const NO_TEXT = 0.34; // below this zoom labels cannot be read and are left out
const NO_ARROWS = 0.16;

/** A viewer: shows levels, zooms, pans, and marks what is selected. `onPick(id, adding)` is told of clicks. */
class Viewer {
  constructor(onPick) {
    this.onPick = onPick;
    this.view = { x: 0, y: 0, zoom: 1 };
    this.made = new Map(); // what is in the document: key -> element
    this.at = null; // the vertex the keyboard stands on
    this.edgeLayer = svg("g");
    this.boxLayer = svg("g");
    this.vertexLayer = svg("g");
    this.scene = svg("g", {}, this.boxLayer, this.edgeLayer, this.vertexLayer);
    const head = svg("path", { d: "M0 0L8 4L0 8z", class: "arrowhead" });
    const marker = svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, head);
    this.picture = svg("svg", { class: "picture" }, svg("defs", {}, marker), this.scene);
    this.element = el("div", { class: "viewport", tabindex: "0", role: "application", "aria-roledescription": "graph" }, this.picture);
    this.listen();
    new ResizeObserver(() => this.resized()).observe(this.element);
  }

  /** Shows a level of a stage. marks: node id -> "added" or "removed". */
  show(stage, level, marks) {
    Object.assign(this, { stage, level, marks });
    this.nodes = new Map(stage.nodes.map((node) => [node.id, node]));
    this.owner = new Map(); // node id -> number of the vertex that stands for it
    level.vertices.forEach((vertex, i) => (vertex.nodes ?? [vertex.id]).forEach((id) => this.owner.set(id, i)));
    this.edges = level.edges.map(([from, to, points, count]) => ({ from, to, points, count, path: curve(points), ...extent(points) }));
    this.neighbours = level.vertices.map(() => new Set());
    for (const [from, to] of stage.edges) {
      const [a, b] = [this.owner.get(from), this.owner.get(to)];
      if (a !== undefined && b !== undefined && a !== b) this.neighbours[a].add(b) && this.neighbours[b].add(a);
    }
    this.at = null;
    this.clear();
    this.marked();
    this.fit();
  }

  clear() {
    this.made.forEach((element) => element.remove());
    this.made.clear();
  }

  /** Works out what the selection means here, and draws it. */
  marked() {
    if (!this.level) return;
    const has = (vertex, set) => set.has(vertex.id) || set.has(idOf(vertex)) || (vertex.nodes ?? []).some((id) => set.has(id));
    const selected = new Set(state.selected);
    this.selected = new Set();
    this.related = new Set();
    this.level.vertices.forEach((vertex, i) => {
      if (has(vertex, selected)) this.selected.add(i);
      else if (has(vertex, state.related)) this.related.add(i);
    });
    this.picture.classList.toggle("selecting", this.selected.size + this.related.size > 0);
    for (const [key, element] of this.made) element.setAttribute("class", this.classOf(key[0], Number(key.slice(1))));
    this.draw();
  }

  /** The classes of a box, an edge or a vertex, which say what it is and whether it belongs to the selection. */
  classOf(kind, i) {
    const belongs = (selected, related) => (selected ? "selected" : related ? "related" : "");
    if (kind === "b") {
      const { id } = this.level.boxes[i];
      return `box ${belongs(state.selected.includes(id), state.related.has(id))}`;
    }
    if (kind === "e") {
      const { from, to, top, bottom } = this.edges[i];
      const far = bottom - top > FAR ? "far" : "";
      return `edge ${far} ${belongs(this.selected.has(from) || this.selected.has(to), this.related.has(from) && this.related.has(to))}`;
    }
    const vertex = this.level.vertices[i];
    const role = vertex.role ?? this.nodes.get(vertex.id).role;
    const at = i === this.at ? "at" : "";
    return `vertex ${role} ${this.change(vertex)} ${vertex.nodes ? "whole" : ""} ${at} ${belongs(this.selected.has(i), this.related.has(i))}`;
  }

  /** The vertices that belong to the selection, the selected ones before the related. */
  chosen() {
    return [...this.selected, ...this.related];
  }

  get size() {
    return { width: this.element.clientWidth || 800, height: this.element.clientHeight || 500 };
  }

  resized() {
    if (this.level && !this.moved) this.fit();
    else if (this.level) this.draw();
  }

  /** Shows all of it, or where it begins if all of it would be too small to read. */
  fit() {
    const { width, height } = this.size;
    const whole = Math.min(width / (this.level.width + 48), height / (this.level.height + 48));
    const zoom = Math.min(1.1, Math.max(whole, 0.02));
    this.view = { zoom, x: (width - this.level.width * zoom) / 2, y: Math.max(12, (height - this.level.height * zoom) / 2) };
    this.moved = false;
    this.draw();
  }

  /** Zooms by a factor about a point of the viewport, its middle by default. */
  zoom(factor, at = null) {
    const { width, height } = this.size;
    const { x, y } = at ?? { x: width / 2, y: height / 2 };
    const zoom = Math.min(3, Math.max(0.01, this.view.zoom * factor));
    const grown = zoom / this.view.zoom;
    this.view = { zoom, x: x - (x - this.view.x) * grown, y: y - (y - this.view.y) * grown };
    this.moved = true;
    this.draw();
  }

  pan(dx, dy) {
    this.view.x += dx;
    this.view.y += dy;
    this.moved = true;
    this.draw();
  }

  /** Brings vertices into view, large enough to read; the first of them, if they are too far apart for that. */
  bring(numbers) {
    const { width, height } = this.size;
    const around = (some) => some.map((i) => this.level.vertices[i]).map((v) => ({ left: v.x, right: v.x + v.w, top: v.y, bottom: v.y + v.h })).reduce(joined);
    const fitting = (box) => Math.min(1, (width - 40) / (box.right - box.left), (height - 40) / (box.bottom - box.top));
    let box = around(numbers);
    if (fitting(box) < NO_TEXT) box = around(numbers.slice(0, 1));
    const place = (value, axis) => value * this.view.zoom + this.view[axis];
    const inside = place(box.left, "x") >= 0 && place(box.right, "x") <= width && place(box.top, "y") >= 0 && place(box.bottom, "y") <= height;
    if (inside && this.view.zoom >= NO_TEXT) return this.draw();
    const zoom = this.view.zoom < NO_TEXT ? Math.min(0.9, fitting(box)) : Math.min(this.view.zoom, fitting(box));
    this.view = { zoom, x: width / 2 - ((box.left + box.right) / 2) * zoom, y: height / 2 - ((box.top + box.bottom) / 2) * zoom };
    this.moved = true;
    this.draw();
  }

  /** Puts into the document what can be seen, and takes out what cannot. */
  draw() {
    if (!this.level || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.drawNow();
    });
  }

  drawNow() {
    const { x, y, zoom } = this.view;
    const { width, height } = this.size;
    this.scene.setAttribute("transform", `translate(${x} ${y}) scale(${zoom})`);
    this.picture.classList.toggle("no-text", zoom < NO_TEXT);
    this.picture.classList.toggle("no-arrows", zoom < NO_ARROWS);
    const seen = { left: -x / zoom - 20, top: -y / zoom - 20, right: (width - x) / zoom + 20, bottom: (height - y) / zoom + 20 };
    const wanted = new Map();
    this.level.boxes.forEach((box, i) => meets(box, seen) && wanted.set(`b${i}`, () => this.box(box, i)));
    this.edges.forEach((edge, i) => meets(edge, seen) && wanted.set(`e${i}`, () => this.edge(edge, i)));
    const detail = zoom < NO_TEXT ? "s" : "v"; // small vertices are made without text
    this.level.vertices.forEach((vertex, i) => meets(vertex, seen) && wanted.set(`${detail}${i}`, () => this.vertex(vertex, i, detail === "v")));
    for (const [key, element] of this.made) {
      if (wanted.has(key)) continue;
      element.remove();
      this.made.delete(key);
    }
    const layers = { b: this.boxLayer, e: this.edgeLayer, v: this.vertexLayer, s: this.vertexLayer };
    for (const [key, make] of wanted) {
      if (this.made.has(key)) continue;
      const element = make();
      layers[key[0]].append(element);
      this.made.set(key, element);
    }
    for (const [key, element] of this.made) if (key[0] === detail) element.classList.toggle("at", Number(key.slice(1)) === this.at);
    const active = this.at !== null && this.made.has(`v${this.at}`) ? `vertex-${this.at}` : null;
    attributes(this.element, active ? { "aria-activedescendant": active } : {});
    if (!active) this.element.removeAttribute("aria-activedescendant");
  }

  box(box, i) {
    const pick = (event) => this.pick(event, box.id);
    const title = svg("text", { x: 10, y: 17 }, short(box.label, Math.floor(box.w / 7)));
    return svg("g", { class: this.classOf("b", i), transform: `translate(${box.x} ${box.y})`, "data-vertex": box.id, onclick: pick }, svg("rect", { width: box.w, height: box.h, rx: 10 }), title);
  }

  edge(edge, i) {
    const width = Math.min(1.3 + 0.6 * Math.log2(edge.count), 4);
    return svg("path", { class: this.classOf("e", i), d: edge.path, "stroke-width": width, "marker-end": "url(#arrow)" });
  }

  vertex(vertex, i, written) {
    const node = this.nodes.get(vertex.id);
    const change = this.change(vertex);
    const group = svg("g", { id: `vertex-${i}`, class: this.classOf("v", i), transform: `translate(${vertex.x} ${vertex.y})`, role: "img", "aria-label": this.describe(i), "data-vertex": vertex.id, onclick: (event) => this.pick(event, idOf(vertex)), ondblclick: () => this.onOpen?.(vertex) });
    group.append(svg("rect", { class: "face", width: vertex.w, height: vertex.h, rx: vertex.nodes ? 9 : 5 }), svg("rect", { class: "stripe", width: 5, height: vertex.h - 10, x: 5, y: 5, rx: 2.5 }));
    if (!written) return group;
    const [letters, small] = [Math.floor((vertex.w - 22) / 8.2), Math.floor((vertex.w - 22) / 6.5)];
    const [title, below] = vertex.nodes ? [vertex.label, `${vertex.role} · ${plural(vertex.nodes.length, "op")}`] : [node.op, node.type];
    group.append(svg("text", { class: "op", x: 17, y: 18 }, tail(title, letters)), svg("text", { class: "type", x: 17, y: 33 }, short(below, small)));
    if (change) group.append(svg("circle", { class: "badge", cx: vertex.w - 4, cy: 4, r: 9 }), svg("text", { class: "badge", x: vertex.w - 4, y: 8, "text-anchor": "middle" }, change === "added" ? "+" : "−"));
    return group;
  }

  /** Whether a vertex, or something in it, was added or removed. */
  change(vertex) {
    const found = (vertex.nodes ?? [vertex.id]).map((id) => this.marks.get(id)).find(Boolean);
    return found ?? "";
  }

  /** A vertex in words, for screen readers. */
  describe(i) {
    const vertex = this.level.vertices[i];
    const node = this.nodes.get(vertex.id);
    if (!node) return `${vertex.label}, ${vertex.role}, ${plural(vertex.nodes.length, "op")}`;
    const lines = node.lines.map(named).join(", ");
    return [node.op, node.type, node.role, node.module, lines, node.kernel ? `kernel ${node.kernel}` : "", this.change(vertex)].filter(Boolean).join(", ");
  }

  pick(event, id) {
    if (this.dragged) return;
    event.stopPropagation();
    const vertex = this.level.vertices.findIndex((one) => idOf(one) === id);
    if (vertex >= 0) this.at = vertex;
    this.onPick(id, event.ctrlKey || event.metaKey);
  }

  /** Mouse, fingers and wheel. The wheel zooms only where the graph has the focus, else it scrolls the page. */
  listen() {
    const fingers = new Map();
    const place = (event) => {
      const box = this.element.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    this.element.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== this.element) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * 0.0015), place(event));
    }, { passive: false });
    this.element.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, place(event));
      this.dragged = false;
    });
    window.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const now = place(event);
      const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      if (!this.dragged && Math.hypot(now.x - before.x, now.y - before.y) < 4) return;
      this.dragged = true;
      fingers.set(event.pointerId, now);
      if (other) this.zoom(Math.hypot(now.x - other.x, now.y - other.y) / (Math.hypot(before.x - other.x, before.y - other.y) || 1), other);
      else this.pan(now.x - before.x, now.y - before.y);
    });
    for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
}

/** What clicking a vertex selects: the line or kernel it is all of, or itself. */
const idOf = (vertex) => (vertex.kind === "line" || vertex.kind === "kernel" ? vertex.name : vertex.id);

/** The end of a long dotted name says more than its beginning. */
const tail = (text, most) => (text.length <= most ? text : text.includes(".") && !text.includes(" ") ? `…${text.slice(1 - most)}` : short(text, most));

/** A smooth line through points that are alternately ends of bends: upright where it meets a vertex. */
function curve(points) {
  let path = `M${points[0]} ${points[1]}`;
  for (let i = 2; i < points.length; i += 2) {
    const [x0, y0, x1, y1] = points.slice(i - 2, i + 2);
    const middle = (y0 + y1) / 2;
    path += x0 === x1 ? `L${x1} ${y1}` : `C${x0} ${middle} ${x1} ${middle} ${x1} ${y1}`;
  }
  return path;
}

function extent(points) {
  const xs = points.filter((_, i) => i % 2 === 0);
  const ys = points.filter((_, i) => i % 2);
  return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
}

const joined = (a, b) => ({ left: Math.min(a.left, b.left), right: Math.max(a.right, b.right), top: Math.min(a.top, b.top), bottom: Math.max(a.bottom, b.bottom) });

/** Whether something with an extent, or with x, y, w and h, is within the part that can be seen. */
function meets(thing, seen) {
  const left = thing.left ?? thing.x;
  const top = thing.top ?? thing.y;
  return left < seen.right && top < seen.bottom && (thing.right ?? left + thing.w) > seen.left && (thing.bottom ?? top + thing.h) > seen.top;
}
