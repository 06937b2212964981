// Numbers as people read them. Where something is unknown (null) the answer is a dash.

const DASH = "–";
const known = (value) => value !== null && value !== undefined;

/** Three significant digits, without an exponent where that stays short. */
function digits(value) {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  return size < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

function scaled(value, step, units) {
  let unit = 0;
  while (Math.abs(value) >= step * 0.9995 && unit < units.length - 1) {
    value /= step;
    unit += 1;
  }
  return `${digits(value)} ${units[unit]}`;
}

/** Nanoseconds as ns, µs, ms or s. */
const time = (ns) => (known(ns) ? scaled(ns, 1000, ["ns", "µs", "ms", "s"]) : DASH);
/** Bytes as B, KiB, MiB or GiB. */
const bytes = (count) => (known(count) ? scaled(count, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]) : DASH);
/** Plain counts, by thousands from ten thousand on. */
const count = (value) => (known(value) ? value.toLocaleString("en-US") : DASH);
const flops = (value) => (known(value) ? scaled(value, 1000, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"]) : DASH);
const percent = (share) => (known(share) ? `${digits(100 * share)} %` : DASH);
const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** A loss or a difference; JSON has no NaN, so those come as strings. */
function exact(value) {
  if (!known(value)) return DASH;
  const number = Number(value);
  return Number.isFinite(number) && number !== 0 && Math.abs(number) < 1e-3 ? number.toExponential(2) : String(Number(number.toPrecision(6)));
}

/** A figure that carries the number it was made from. */
const figure = (name, value, text) => el("data", { value: known(value) ? String(value) : "", "data-figure": name }, text);

/** A last place for an axis: the next of 1, 2, 5 times a power of ten. */
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * 0.9999);
}
