// Planes of the volumes, linked crosshairs, and window and level.

import {make} from "./controls.js";
import {restrip} from "./drawer.js";
import {$, answers, s} from "./state.js";
import {PLANES, draw, extent, times, valueAt} from "./volumes.js";

const ROWS = ["before", "after", "difference"], panes = [];

function buildPanes() {
  const list = s.planes === "all" ? Object.keys(PLANES) : [s.planes];
  const two = answers.before.volumes.image.shape.filter(n => n === 1).length;
  const seen = list.filter(plane => !two || answers.before.volumes.image.shape[PLANES[plane][0]] === 1);
  const rows = ROWS.filter(row => s.rows.has(row)), single = seen.length < 2;
  panes.length = 0;
  const grid = make("div", {className: "grid"});
  const columns = single ? rows.length : seen.length;
  grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  grid.style.gridTemplateRows = `auto repeat(${single ? 1 : rows.length}, minmax(0, 1fr))`;
  for (const plane of seen) {
    const slider = make("input", {type: "range", min: 0, step: 1, aria: {"aria-label": `${plane} slice`}});
    const counter = make("span", {className: "muted"});
    slider.addEventListener("input", () => moveTo(plane, Number(slider.value)));
    const bar = make("div", {className: "bar"}, make("b", {textContent: plane[0].toUpperCase() + plane.slice(1)}), slider, counter);
    if (single) bar.style.gridColumn = `1 / span ${columns}`;
    grid.append(bar);
    panes.push({plane, slider, counter});
  }
  for (const row of rows) {
    for (const plane of seen) {
      const canvas = make("canvas", {tabIndex: 0, role: "img", dataset: {row, plane}});
      const caption = make("span", {className: `caption ${row}`});
      grid.append(make("div", {className: "pane"}, canvas, caption));
      panes.push({plane, row, canvas, caption});
      listen(canvas, plane, row);
    }
  }
  $("panes").replaceChildren(grid);
}

const drawn = new Map();
let waiting = 0;

export function render() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(paintAll);
}

function paintAll() {
  const {before, after} = answers;
  if (!before || !after) return;
  const shape = before.volumes.image.shape.map(n => n === 1).join() + s.planes + [...s.rows];
  if (shape !== buildPanes.shape) { buildPanes(); buildPanes.shape = shape; }
  const frame = before.volumes.image, width = s.window[1] - s.window[0];
  for (const {plane, row, canvas, caption, slider, counter} of panes) {
    const [cut] = PLANES[plane], count = frame.shape[cut];
    const slice = Math.floor(times(frame.inverse, s.at)[cut] + 0.5);
    if (slider) {
      slider.max = count - 1; slider.value = slice;
      slider.setAttribute("aria-valuetext", `slice ${slice + 1} of ${count}`);
      counter.textContent = `${slice + 1}/${count}`;
      continue;
    }
    const source = row === "before" ? before : after, v = source.volumes.image;
    const kind = source.header.images.find(each => each.name === source.header.image).kind;
    const boxes = [extent(frame, frame, plane), extent(after.volumes.image, frame, plane)];
    const box = [0, 1].map(n => [Math.min(boxes[0][n][0], boxes[1][n][0]), Math.max(boxes[0][n][1], boxes[1][n][1])]);
    const window = row === "before" && made() ? frame.window : s.window;
    drawn.set(canvas, draw(canvas, {image: v, frame, plane, at: s.at, box, kind, window, cross: true,
      radiological: s.radiological, reach: width / 2, opacity: s.opacity,
      label: row === "difference" || kind === "label" ? null : source.volumes.label,
      other: row === "difference" ? frame : null, nothing: row === "difference" && made(),
      points: s.points && row !== "difference" ? Object.values(source.header.points) : []}));
    const size = row === "after" && String(v.size) !== String(frame.size) && !after.header.coarse ? ` ${v.size.join("×")}` : "";
    caption.textContent = row[0].toUpperCase() + row.slice(1) + size + (row !== "before" && after.header.coarse ? ", coarse" : "")
      + (row === "before" && made() ? `, ${before.header.image}` : row === "difference" && made() ? ": the image is new" : "");
    canvas.setAttribute("aria-label", `${plane} plane, ${row}, slice ${slice + 1} of ${count}. Arrow keys move the slice.`);
  }
  const at = s.at.map(x => x.toFixed(1)), a = valueAt(frame, s.at), b = valueAt(after.volumes.image, s.at);
  const text = x => Number.isNaN(x) ? "—" : Number(x.toPrecision(4)).toString();
  const label = v => v ? valueAt(v, s.at) : NaN;
  $("reading").textContent = `R ${at[0]}  A ${at[1]}  S ${at[2]} mm     ${text(a)} → ${text(b)}`
    + (before.volumes.label ? `     label ${text(label(before.volumes.label))} → ${text(label(after.volumes.label))}` : "")
    + `     window ${text(width)}, level ${text((s.window[0] + s.window[1]) / 2)}`;
}

function moveTo(plane, slice) {
  const v = answers.before.volumes.image, place = times(v.inverse, s.at), [cut] = PLANES[plane];
  place[cut] = Math.max(0, Math.min(v.shape[cut] - 1, slice));
  s.at = times(v.affine, place);
  render();
  restrip();
}

const sliceOf = plane => Math.floor(times(answers.before.volumes.image.inverse, s.at)[PLANES[plane][0]] + 0.5);

function listen(canvas, plane, row) {
  let drag = null;
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    const contrast = event.button === 2 || event.shiftKey;
    drag = {contrast, x: event.clientX, y: event.clientY, window: [...s.window]};
    if (!contrast) go(event);
  });
  const go = event => {
    const bounds = canvas.getBoundingClientRect();
    s.at = drawn.get(canvas)(event.clientX - bounds.left, event.clientY - bounds.top);
    render();
    restrip();
  };
  canvas.addEventListener("pointermove", event => {
    if (!drag) return;
    if (!drag.contrast) return go(event);
    const [low, high] = drag.window, full = fullWindow();
    const unit = (full[1] - full[0]) / 300 || 1;
    const width = Math.max(unit / 10, high - low + (event.clientX - drag.x) * unit);
    const level = (low + high) / 2 + (event.clientY - drag.y) * unit;
    s.window = [level - width / 2, level + width / 2];
    showWindow();
    render();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drag = null; });
  canvas.addEventListener("contextmenu", event => event.preventDefault());
  canvas.addEventListener("dblclick", () => row === "before" ? auto() : choosePlanes(s.planes === "all" ? plane : "all"));
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    moveTo(plane, sliceOf(plane) - Math.sign(event.deltaY));
  }, {passive: false});
  canvas.addEventListener("keydown", event => {
    const by = {ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10}[event.key];
    if (!by) return;
    event.preventDefault();
    moveTo(plane, sliceOf(plane) + by);
  });
}

// Window and level by sliders: from the least to the greatest of the image, logarithmic in the width.

// Return True if the image that is shown was made by the pipeline: there is none of its name before.
const made = () => answers.after && answers.after.header.image !== answers.before.header.image;
const fullWindow = () => (made() ? answers.after : answers.before).volumes.image.window;

export function showWindow() {
  const full = fullWindow(), span = full[1] - full[0] || 1;
  $("window").value = 500 + 250 * Math.log2((s.window[1] - s.window[0]) / span);
  $("level").value = 500 + 500 * ((s.window[0] + s.window[1] - full[0] - full[1]) / 2) / span;
}

export function readWindow() {
  const full = fullWindow(), span = full[1] - full[0] || 1;
  const width = span * 2 ** ((Number($("window").value) - 500) / 250);
  const level = (full[0] + full[1]) / 2 + (Number($("level").value) - 500) / 500 * span;
  s.window = [level - width / 2, level + width / 2];
  render();
}

export function auto() {
  s.window = [...fullWindow()];
  showWindow();
  render();
}

export function choosePlanes(name) {
  s.planes = name;
  for (const each of $("planes").children) each.setAttribute("aria-pressed", each.dataset.planes === name);
  render();
  restrip();
}
