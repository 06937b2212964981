// What belongs together: a line, its nodes, their kernels, the buffers those fill. One function answers for all panels.

const data = JSON.parse(byId("data").textContent);

const sourceOf = new Map(data.sources.map((source) => [source.id, source]));
const lineOf = new Map(data.lines.map((line) => [line.id, line]));
const kernelOf = new Map(data.kernels.map((kernel) => [kernel.id, kernel]));
const stageOf = new Map(data.stages.map((stage) => [stage.id, stage]));
const bufferOf = new Map(data.memory.buffers.map((buffer) => [`b:${buffer.name}`, buffer]));
const nodeOf = new Map(); // a node as its last stage has it
const stagesOf = new Map(); // node -> ids of the stages that have it
const moduleOf = new Map(); // what a vertex of whole modules stands for
const links = new Map(); // id -> the set of ids that belong to it

function link(a, b) {
  for (const [from, to] of [[a, b], [b, a]]) {
    if (!links.has(from)) links.set(from, new Set());
    links.get(from).add(to);
  }
}

for (const stage of data.stages) {
  for (const node of stage.nodes) {
    nodeOf.set(node.id, node);
    stagesOf.set(node.id, [...(stagesOf.get(node.id) ?? []), stage.id]);
    for (const line of node.lines) link(line, node.id);
    if (node.kernel) link(node.kernel, node.id);
  }
  for (const level of data.drawings[stage.id]) {
    for (const vertex of level.vertices) {
      if (vertex.kind !== "module") continue;
      const whole = moduleOf.get(vertex.id) ?? { ...vertex, nodes: new Set() };
      vertex.nodes.forEach((node) => whole.nodes.add(node));
      moduleOf.set(vertex.id, whole);
    }
  }
}
for (const kernel of data.kernels) {
  kernel.nodes.forEach((node) => link(kernel.id, node));
  kernel.lines.forEach((line) => link(kernel.id, line));
}
for (const line of data.lines) line.kernels.forEach((kernel) => link(kernel, line.id));
const kernelOfStep = new Map(data.memory.plan.map((step) => [step.step, step.kernel]));
for (const [id, buffer] of bufferOf) {
  buffer.lines.forEach((line) => link(line, id));
  if (nodeOf.has(buffer.name)) link(id, buffer.name);
  for (const step of [buffer.first, buffer.last]) if (kernelOfStep.get(step)) link(id, kernelOfStep.get(step));
}

/** line, node, kernel, buffer or module: what an id names; null if nothing. */
function kindOf(id) {
  if (lineOf.has(id)) return "line";
  if (kernelOf.has(id)) return "kernel";
  if (bufferOf.has(id)) return "buffer";
  if (nodeOf.has(id)) return "node";
  return moduleOf.has(id) ? "module" : null;
}

/** Everything that belongs to these ids, themselves left out. */
function related(ids) {
  const found = new Set();
  for (const id of ids) {
    const own = kindOf(id) === "module" ? [...moduleOf.get(id).nodes] : [id];
    for (const one of own) {
      if (one !== id) found.add(one);
      for (const other of links.get(one) ?? []) found.add(other);
      // A buffer of a node's kernel belongs to the node, too, where none is named after the node itself.
      const kernel = nodeOf.get(one)?.kernel;
      const buffers = kernel && !bufferOf.has(`b:${one}`) ? [...links.get(kernel)].filter((other) => bufferOf.has(other)) : [];
      buffers.forEach((buffer) => found.add(buffer));
    }
  }
  ids.forEach((id) => found.delete(id));
  return found;
}

const fileName = (source) => source.file.split("/").pop();

/** What an id is called in a sentence. */
function named(id) {
  const line = lineOf.get(id);
  const kernel = kernelOf.get(id);
  const node = nodeOf.get(id);
  switch (kindOf(id)) {
    case "line": return `line ${line.line}${data.sources.length > 1 ? ` of ${fileName(sourceOf.get(line.source))}` : ""}`;
    case "kernel": return `${id} ${kernel.title}`;
    case "buffer": return `buffer ${bufferOf.get(id).name}, ${bytes(bufferOf.get(id).bytes)}`;
    case "node": return `${node.op} ${node.type}`;
    case "module": return `${moduleOf.get(id).name}, ${moduleOf.get(id).role}`;
    default: return id;
  }
}
