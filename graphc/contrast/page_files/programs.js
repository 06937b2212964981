// The program written out both ways.

/** Copies text; where the browser offers no clipboard to a file, by way of a selection. */
async function copy(listing, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(listing.textContent);
  } catch {
    getSelection().selectAllChildren(listing);
    done = document.execCommand("copy");
  }
  button.textContent = done ? "Copied" : "Select and copy by hand";
  say(button.textContent);
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

function program(name, source, about) {
  if (!known(source)) return null;
  const listing = el("code", {}, source);
  const button = el("button", { type: "button", "aria-label": `Copy the ${name} program`, onclick: () => copy(listing, button) }, "Copy");
  return el("article", { class: "program" }, el("div", { class: "tools" }, el("h3", {}, name), el("span", { class: "quiet" }, about), button), el("pre", { tabindex: "0", class: "scroller" }, listing));
}

function drawPrograms() {
  const { eager, session, file, why_none: why } = data.programs;
  const shown = [program("Eager", eager, "every line runs as it is read"), program("Session", session, "a graph first, then data is fed")].filter(Boolean);
  if (file) content("programs").append(el("p", { class: "lead" }, "Both read their arrays from ", el("code", {}, file), " beside them; ", el("code", {}, "graphc contrast --programs DIR"), " writes all three."));
  content("programs").append(shown.length ? el("div", { class: "columns" }, shown) : el("p", { class: "quiet" }, `The step is not written out as a script${why ? `: ${why}` : "."}`));
}
