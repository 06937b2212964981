// Search over lines, modules, kernels and nodes.

const MOST_FOUND = 8;

/** Everything that can be found: id, what to show, the words to look in. */
function searchable() {
  const found = [];
  for (const line of data.lines) found.push({ id: line.id, kind: "Lines", name: `${line.line}  ${line.text.trim()}`, words: `${line.text} ${line.line} ${line.modules.join(" ")}` });
  for (const [id, whole] of moduleOf) found.push({ id, kind: "Modules", name: `${whole.name} (${whole.role})`, words: whole.name });
  for (const kernel of data.kernels) found.push({ id: kernel.id, kind: "Kernels", name: `${kernel.id}  ${kernel.title}`, words: `${kernel.id} ${kernel.title} ${kernel.ops.join(" ")}` });
  for (const [id, node] of nodeOf) found.push({ id, kind: "Ops", name: `${node.op}  ${node.type}  ${node.module}`, words: wordsOf(node) });
  return found.map((entry) => ({ ...entry, words: entry.words.toLowerCase() }));
}

function drawSearch() {
  const field = byId("search");
  const panel = byId("found");
  let everything = null;
  const close = () => (panel.hidden = true);
  const choose = (id) => {
    close();
    select([id]);
    byId(SECTION[kindOf(id)]).scrollIntoView({ block: "start" });
  };
  function search() {
    const wanted = field.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    panel.hidden = wanted.length === 0;
    if (panel.hidden) return;
    everything ??= searchable();
    const matches = everything.filter((entry) => wanted.every((word) => entry.words.includes(word)));
    panel.replaceChildren(...results(matches, choose));
    say(`${count(matches.length)} found.`);
  }
  field.addEventListener("input", search);
  field.addEventListener("focus", search);
  field.addEventListener("keydown", (event) => {
    const first = panel.querySelector("button");
    if (panel.hidden || !first) return;
    if (event.key === "Enter") first.click();
    if (event.key === "ArrowDown") {
      first.focus();
      event.preventDefault();
    }
  });
  panel.addEventListener("keydown", (event) => {
    const buttons = [...panel.querySelectorAll("button")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    (buttons[buttons.indexOf(document.activeElement) + step] ?? field).focus();
  });
  document.addEventListener("click", (event) => event.target.closest(".search") || close());
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      field.focus();
    }
    if (event.key !== "Escape") return;
    if (panel.hidden) select([]);
    close();
    if (typing) field.blur();
  });
}

/** Results by kind, a few of each with how many more there are. */
function results(matches, choose) {
  if (!matches.length) return [el("p", { class: "quiet" }, "Nothing is called so.")];
  const kinds = [...new Set(matches.map((entry) => entry.kind))];
  return kinds.map((kind) => {
    const own = matches.filter((entry) => entry.kind === kind);
    const buttons = own.slice(0, MOST_FOUND).map((entry) => el("li", {}, el("button", { type: "button", onclick: () => choose(entry.id) }, entry.name)));
    const rest = own.length > MOST_FOUND ? el("p", { class: "quiet" }, `and ${count(own.length - MOST_FOUND)} more`) : null;
    return el("div", {}, el("h3", {}, kind), el("ul", {}, buttons), rest ?? []);
  });
}
