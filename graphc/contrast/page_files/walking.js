// The graph by keyboard: arrows up and down walk along edges, left and right along a row.

const KEYS = {
  ArrowDown: (viewer) => walk(viewer, (from, to) => to.y > from.y, true),
  ArrowUp: (viewer) => walk(viewer, (from, to) => to.y < from.y, true),
  ArrowRight: (viewer) => walk(viewer, (from, to) => sameRow(from, to) && to.x > from.x, false),
  ArrowLeft: (viewer) => walk(viewer, (from, to) => sameRow(from, to) && to.x < from.x, false),
  Enter: (viewer) => viewer.at !== null && viewer.onPick(idOf(viewer.level.vertices[viewer.at]), false),
  "+": (viewer) => viewer.zoom(1.25),
  "=": (viewer) => viewer.zoom(1.25),
  "-": (viewer) => viewer.zoom(0.8),
  0: (viewer) => viewer.fit(),
};

const middle = (vertex) => vertex.x + vertex.w / 2;
const sameRow = (a, b) => Math.abs(a.y + a.h / 2 - b.y - b.h / 2) < 12;

/** Steps to the nearest vertex in a direction: one that an edge leads to, or any. */
function walk(viewer, ahead, along) {
  const { vertices } = viewer.level;
  if (!vertices.length) return;
  if (viewer.at === null) {
    stand(viewer, viewer.chosen()[0] ?? topmost(vertices));
    return;
  }
  const from = vertices[viewer.at];
  const among = along ? [...viewer.neighbours[viewer.at]] : vertices.map((_, i) => i);
  const distance = (to) => Math.abs(to.y - from.y) * 2 + Math.abs(middle(to) - middle(from));
  const found = among.filter((i) => i !== viewer.at && ahead(from, vertices[i])).sort((a, b) => distance(vertices[a]) - distance(vertices[b]));
  if (found.length) stand(viewer, found[0]);
  else say("No edge leads further this way.");
}

const topmost = (vertices) => vertices.reduce((best, vertex, i) => (vertex.y < vertices[best].y ? i : best), 0);

function stand(viewer, number) {
  viewer.at = number;
  viewer.bring([number]);
  say(`${viewer.describe(number)}. ${plural(viewer.neighbours[number].size, "edge")}.`);
}

/** Lets a viewer be walked through. */
function walkable(viewer) {
  viewer.element.addEventListener("keydown", (event) => {
    const act = KEYS[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(viewer);
  });
}
