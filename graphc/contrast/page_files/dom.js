"use strict";
// Elements are made here and nowhere else, and text always goes in as text: nothing in the data can become markup.

const byId = (id) => document.getElementById(id);

/** Gives an element its attributes: `on...` are listeners, true and false switch, null leaves out. */
function attributes(element, given) {
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  return element;
}

/** An HTML element: el("p", {class: "note"}, "text", child). */
function el(tag, given = {}, ...children) {
  const element = attributes(document.createElement(tag), given);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** An SVG element; the namespace is read from an element that the HTML parser made. */
function svg(tag, given = {}, ...children) {
  const element = attributes(document.createElementNS(byId("drawn").namespaceURI, tag), given);
  element.append(...children.flat());
  return element;
}

/** A width in percent; styles are set by property, since the page's policy refuses style attributes. */
function wide(element, share, left = null) {
  element.style.width = `${100 * share}%`;
  if (left !== null) element.style.left = `${100 * left}%`;
  return element;
}

/** The element into which a section draws. */
const content = (section) => document.querySelector(`#${section} .content`);

/** A table with a caption for screen readers; cells may be text or elements. */
function table(caption, heads, rows) {
  const head = el("tr", {}, heads.map((text) => el("th", { scope: "col" }, text)));
  const body = rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell))));
  return el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, head), el("tbody", {}, body));
}

/** Scrolls a panel, never the page, until the element can be seen. */
function reveal(panel, element) {
  const outer = panel.getBoundingClientRect();
  const inner = element.getBoundingClientRect();
  const above = inner.top < outer.top + 36;
  if (above || inner.bottom > outer.bottom) panel.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
}

/** Says something to screen readers. */
function say(text) {
  byId("live").textContent = text;
}
