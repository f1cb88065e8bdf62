// State of the page, requests, and what is drawn from their answers.

import {card, ends, make, shown} from "./controls.js";
import {PLANES, decode, draw, extent, thumbnail, times, valueAt} from "./volumes.js";

const $ = id => document.getElementById(id);
const ROWS = ["before", "after", "difference"];
const s = {steps: [], seed: 0, image: "", overlay: "", channel: 0, at: [0, 0, 0], window: [0, 1], planes: "all",
  rows: new Set(ROWS), radiological: true, points: true, opacity: 0.35, tab: "", next: 1, vary: null};
const forms = new Map(), answers = {}, panes = [];
let count = 0;

// Requests

async function ask(path, body, signal) {
  const sent = body === undefined ? {} : {method: "POST", body: JSON.stringify(body),
    headers: {"Content-Type": "application/json"}};
  const answer = await fetch(path, {...sent, signal});
  if (answer.ok) return answer;
  const failed = await answer.json().catch(() => ({error: `the server answered ${answer.status}`}));
  throw Object.assign(new Error(failed.error || ""), failed);
}

const wish = more => ({steps: s.steps.map(({name, on, arguments: given}) => ({name, on, arguments: given})),
  seed: s.seed, image: s.image, overlay: s.overlay, channel: s.channel, ...more});

const busy = {running: null, next: null};

// Ask for the result: one request at a time, of which the newest waits; a full one ends a coarse one.
function update(done = true) {
  save();
  busy.next = {coarse: !done};
  if (busy.running && (done || !busy.running.coarse)) busy.running.abort.abort();
  if (!busy.running) run();
}

async function run() {
  const {coarse} = busy.next, abort = new AbortController(), start = performance.now();
  Object.assign(busy, {next: null, running: {coarse, abort}});
  const slow = setTimeout(() => status("Computing. The first call of a transform may compile its kernels, once", "busy"), 2500);
  if (!coarse) status("Computing", "busy");
  try {
    const answer = await ask("result", wish({coarse}), abort.signal);
    const {header, volumes} = decode(await answer.arrayBuffer());
    if (answers.before.key !== beforeKey()) await readBefore();
    answers.after = {header, volumes};
    showImages(header);
    Object.assign(document.body.dataset, {answers: ++count, coarse: header.coarse,
      milliseconds: Math.round(performance.now() - start)});
    if (s.fit) {
      s.window = [...volumes.image.window];
      s.fit = false;
      showWindow();
    }
    failure(null);
    $("notes").replaceChildren(...header.notes.map(note => make("p", {className: "note", textContent: note})));
    render();
    status(`${header.coarse ? "Coarse, " : ""}${Math.round(header.ms)} ms to compute, ${Math.round(performance.now() - start)} ms to see`);
    if (!coarse) refresh();
  } catch (error) {
    if (error.name !== "AbortError" && !error.stale) failure(error);
  }
  clearTimeout(slow);
  busy.running = null;
  if (busy.next) run();
}

// Offer images that the pipeline makes, as long as it makes them.
function showImages({image, images}) {
  const select = $("image"), names = images.map(each => each.name);
  for (const option of [...select.options]) if (option.dataset.made && !names.includes(option.value)) option.remove();
  const known = [...select.options].map(option => option.value);
  for (const name of names.filter(each => !known.includes(each))) {
    const option = new Option(`${name} (made)`, name);
    option.dataset.made = "true";
    select.append(option);
  }
  s.image = select.value = image;
}

const beforeKey = () => [s.image, s.overlay, s.channel].join("|");

async function readBefore() {
  const key = beforeKey();
  let answer;
  try {
    answer = decode(await (await ask("before", {...wish(), steps: []})).arrayBuffer());
  } catch (error) {
    if (error.stale) return;
    throw error;
  }
  const first = !answers.before || answers.before.header.image !== answer.header.image;
  answers.before = {...answer, key};
  if (first) {
    const v = answer.volumes.image;
    s.at = times(v.affine, v.shape.map(n => Math.floor(n / 2)));
    s.window = [...v.window];
    showWindow();
  }
  const v = answer.volumes.image, round = x => String(Math.round(x * 100) / 100);
  $("facts").textContent = `${v.size.join("×")}, ${v.spacing.map(round).join("×")} mm, ${v.orientation}+`
    + (v.tilt > 0.5 ? `, oblique ${v.tilt}°` : "") + (v.stride > 1 ? `, shown every ${v.stride} voxels` : "");
  $("channel-label").hidden = v.channels < 2;
  $("channel").max = v.channels - 1;
}

function status(text, kind = "") {
  $("status").textContent = text;
  $("status").className = kind;
}

// Show an error at its step, or alone.
function failure(error) {
  document.querySelectorAll(".step").forEach((element, n) => {
    const here = error && error.step === n, place = element.querySelector(".error");
    place.hidden = !here;
    place.textContent = here ? error.message : "";
    element.classList.toggle("wrong", Boolean(here));
  });
  if (!error) return;
  const lost = error instanceof TypeError;
  status(lost ? "The server has ended: start torchio-gpu preview again" : error.step == null ? error.message : "A step needs another value", "bad");
}

// Planes

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

function render() {
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

let settled = 0;

// Make the strip anew once the crosshair rests.
function restrip() {
  clearTimeout(settled);
  if (s.tab === "strip") settled = setTimeout(refresh, 400);
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

function showWindow() {
  const full = fullWindow(), span = full[1] - full[0] || 1;
  $("window").value = 500 + 250 * Math.log2((s.window[1] - s.window[0]) / span);
  $("level").value = 500 + 500 * ((s.window[0] + s.window[1] - full[0] - full[1]) / 2) / span;
}

function readWindow() {
  const full = fullWindow(), span = full[1] - full[0] || 1;
  const width = span * 2 ** ((Number($("window").value) - 500) / 250);
  const level = (full[0] + full[1]) / 2 + (Number($("level").value) - 500) / 500 * span;
  s.window = [level - width / 2, level + width / 2];
  render();
}

function auto() {
  s.window = [...fullWindow()];
  showWindow();
  render();
}

function choosePlanes(name) {
  s.planes = name;
  for (const each of $("planes").children) each.setAttribute("aria-pressed", each.dataset.planes === name);
  render();
  restrip();
}

// Steps

function explainControl(control) {
  const unit = {intensity: "the image's own units", "°": "degrees"}[control.unit] || control.unit;
  const ends = control.min === undefined ? "" : ` Sliders reach from ${shown(control.min)} to ${shown(control.max)}; more can be typed.`;
  $("help").replaceChildren(make("b", {textContent: control.name}), unit ? ` in ${unit}. ` : ". ",
    control.meaning + ends + (control.needed ? "" : ` Default: ${shown(control.default) || "none"}.`));
}

function showSteps(focus) {
  $("steps").replaceChildren(...s.steps.map((step, n) => card(step, forms.get(step.name), n, s.steps.length, (what, value) => {
    if (what === "value") return update(value);
    if (what === "fold") step.folded = !step.folded;
    if (what === "switch") step.on = value;
    if (what === "remove") s.steps.splice(n, 1);
    if (what === "copy") s.steps.splice(n + 1, 0, {...structuredClone(step), id: s.next++});
    if (what === "up" || what === "down") s.steps.splice(n + (what === "up" ? -1 : 1), 0, ...s.steps.splice(n, 1));
    showSteps([step.id, what]);
    if (what !== "fold") update();
  }, explainControl)));
  $("empty").hidden = s.steps.length > 0;
  if (!focus) return;
  const place = s.steps.findIndex(step => step.id === focus[0]), element = $("steps").children[place];
  const target = element && element.querySelector({switch: ".switch", fold: ".name"}[focus[1]] || `[data-act=${focus[1]}]:enabled, .name`);
  (target || $("steps")).focus();
}

function add(name) {
  const given = {};
  for (const control of forms.get(name).controls) {
    if (JSON.stringify(control.start) !== JSON.stringify(control.default)) given[control.name] = control.start;
  }
  s.steps.forEach(step => { step.folded = true; });
  s.steps.push({id: s.next++, name, on: true, arguments: given, folded: false});
  showSteps();
  const last = $("steps").lastElementChild;
  last.scrollIntoView({block: "nearest"});
  last.querySelector(".name").focus();
  update();
}

function setSteps(steps, seed) {
  s.steps = steps.map((step, n) => ({...step, id: s.next++, folded: n > 1}));
  if (seed !== null && seed !== undefined) setSeed(seed);
  showSteps();
  update();
}

function setSeed(seed) {
  s.seed = Math.max(0, Math.trunc(seed) || 0);
  $("seed").value = s.seed;
}

function save() {
  sessionStorage.setItem("preview", JSON.stringify({steps: s.steps, seed: s.seed}));
}

// Search

function search() {
  const input = $("search"), list = $("found");
  let chosen = 0, shownNames = [];
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rank = f => (f.name.toLowerCase().replace("random", "").startsWith(words[0] || "") ? 0 : 2) + (f.random ? 0 : 1);
    shownNames = [...forms.values()].filter(f => words.every(w => `${f.name} ${f.summary}`.toLowerCase().includes(w)))
      .sort((a, b) => rank(a) - rank(b));
    chosen = Math.max(0, shownNames.findIndex(f => !f.why_not));
    fill();
  };
  const fill = () => {
    list.replaceChildren(...shownNames.map((f, n) => {
      const item = make("li", {id: `found-${n}`, role: "option", className: f.why_not ? "unfit" : "",
        aria: {"aria-selected": n === chosen, "aria-disabled": Boolean(f.why_not)}},
      make("b", {textContent: f.name}), make("span", {textContent: f.why_not || f.summary}));
      item.addEventListener("pointerdown", event => { event.preventDefault(); take(n); });
      return item;
    }));
    if (!shownNames.length) list.append(make("li", {className: "unfit", textContent: "No transform has these words."}));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    input.setAttribute("aria-activedescendant", `found-${chosen}`);
    if (list.children[chosen]) list.children[chosen].scrollIntoView({block: "nearest"});
  };
  const hide = () => { list.hidden = true; input.setAttribute("aria-expanded", "false"); };
  const take = n => {
    if (!shownNames[n] || shownNames[n].why_not) return;
    hide();
    input.value = "";
    add(shownNames[n].name);
  };
  input.addEventListener("focus", show);
  input.addEventListener("input", show);
  input.addEventListener("blur", hide);
  input.addEventListener("keydown", event => {
    const by = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (by && shownNames.length) {
      event.preventDefault();
      chosen = (chosen + by + shownNames.length) % shownNames.length;
      fill();
    } else if (event.key === "Enter") {
      event.preventDefault();  // or the step that gets the focus would be clicked
      take(chosen);
    }
    else if (event.key === "Escape") { input.value = ""; hide(); input.blur(); }
  });
  document.addEventListener("keydown", event => {
    if (event.key === "/" && !/INPUT|TEXTAREA|SELECT/.test(document.activeElement.tagName)) {
      event.preventDefault();
      input.focus();
    }
  });
}

// Drawer: strip, plan, what was drawn, texts

const TABS = {strip: "Strip", explain: "Plan", drawn: "Drawn", python: "Python", yaml: "YAML", command: "Command line"};

function openTab(name) {
  s.tab = s.tab === name ? "" : name;
  for (const tab of $("tabs").children) {
    tab.setAttribute("aria-selected", tab.dataset.tab === s.tab);
    tab.tabIndex = tab.dataset.tab === (s.tab || "strip") ? 0 : -1;
  }
  $("panel").hidden = !s.tab;
  $("panel").setAttribute("aria-labelledby", `tab-${s.tab}`);
  refresh();
  requestAnimationFrame(render);
}

async function refresh() {
  const tab = s.tab, panel = $("panel");
  try {
    if (tab === "strip") await strip();
    if (tab === "explain") panel.replaceChildren(make("pre", {textContent: (await (await ask("explain", wish())).json()).text}));
    if (tab === "drawn") {
      const lines = answers.after ? answers.after.header.drawn : [];
      panel.replaceChildren(make("pre", {textContent: lines.join("\n") || "Nothing was applied: steps are off, or were left out by p at this seed."}));
    }
    if (["python", "yaml", "command"].includes(tab)) showText((await (await ask("texts", wish())).json())[tab], tab);
  } catch (error) {
    if (!error.stale && tab === s.tab && tab) panel.replaceChildren(make("p", {className: "error", textContent: error.message}));
  }
}

function showText(content, tab) {
  const panel = $("panel"), old = panel.querySelector("textarea");
  if (old && old.dataset.tab === tab && old === document.activeElement) return;
  const area = make("textarea", {value: content, spellcheck: false, dataset: {tab}, aria: {"aria-label": `Pipeline as ${TABS[tab]}`}});
  const said = make("span", {className: "muted", role: "status"});
  const copy = make("button", {textContent: "Copy", dataset: {act: "copy-text"}}), load = make("button", {textContent: "Load this text", dataset: {act: "load-text"}});
  copy.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(area.value); } catch { area.select(); document.execCommand("copy"); }
    said.textContent = "Copied.";
  });
  load.addEventListener("click", async () => {
    try {
      const {steps, seed} = await (await ask("load", {text: area.value})).json();
      area.blur();
      setSteps(steps, seed);
      said.textContent = "Loaded.";
    } catch (error) { said.textContent = error.message; said.className = "error"; }
  });
  const off = s.steps.some(step => !step.on) ? "Steps that are off are left out. " : "";
  panel.replaceChildren(make("div", {className: "texts"}, area, make("div", {className: "side"}, copy, load, said,
    make("p", {className: "muted", textContent: `${off}Paste Python, YAML or a command line here, and load it. Python is read, never run.`}))));
}

// Return what can be varied: the seed, and each number of the steps that are on.
function variable() {
  const found = [{title: "Seed", key: "seed"}];
  s.steps.forEach((step, n) => step.on && forms.get(step.name).controls.forEach(control => {
    if (control.min !== undefined && control.random !== false) found.push({title: `${step.name}: ${control.name.replaceAll("_", " ")}`, key: `${step.id}.${control.name}`, n, control});
  }));
  return found;
}

async function strip() {
  const all = variable(), now = all.find(each => each.key === s.vary) || all[Math.min(1, all.length - 1)], many = 8;
  const plane = s.planes === "all" ? "axial" : s.planes;
  const variants = [...Array(many).keys()].map(n => {
    if (!now.control) return {seed: s.seed + n};
    const {min, max, kind, step} = now.control, raw = min + (max - min) * n / (many - 1);
    const x = Math.min(max, Math.max(min, Number((min + Math.round((raw - min) / step) * step).toPrecision(6))));
    return {step: now.n, argument: now.control.name, value: kind === "range" ? [x, x] : x};
  });
  const answer = await ask("strip", wish({variants, plane, at: s.at}));
  const {header, volumes} = decode(await answer.arrayBuffer());
  const choose = make("select", {id: "vary"}, ...all.map(each => new Option(each.title, each.key, false, each === now)));
  choose.addEventListener("change", () => { s.vary = choose.value; refresh(); });
  const kind = answers.after.header.images.find(each => each.name === answers.after.header.image).kind;
  const pictures = variants.map((variant, n) => {
    const text = now.control ? shown([variant.value].flat()[0]) : `seed ${variant.seed}`, canvas = make("canvas");
    thumbnail(canvas, volumes[n], header.plane, s.window, kind, s.radiological);
    const button = make("button", {className: "thumb", title: `Take ${text}`, aria: {"aria-label": `Take ${text}`}}, canvas, make("span", {textContent: text}));
    button.addEventListener("click", () => {
      if (now.control) s.steps[now.n].arguments[now.control.name] = variant.value;
      else setSeed(variant.seed);
      showSteps();
      update();
    });
    return button;
  });
  $("panel").replaceChildren(make("div", {className: "strip"}, make("label", {}, "Vary ", choose), make("div", {className: "thumbs"}, ...pictures)));
}

// Begin

function buttons(place, names, pressed, act) {
  for (const [name, title] of Object.entries(names)) {
    const made = make("button", {textContent: title, dataset: {[place]: name}, aria: {"aria-pressed": pressed(name)}});
    made.addEventListener("click", () => { act(name, made); });
    $(place).append(made);
  }
}

function build(state) {
  state.forms.forEach(form => forms.set(form.name, form));
  const scalars = state.images.filter(each => each.kind === "intensity"), labels = state.images.filter(each => each.kind === "label");
  for (const each of [...scalars, ...state.images.filter(x => x.kind !== "intensity")]) $("image").append(new Option(each.title === each.name || each.name === "default_image_name" ? each.title : `${each.name} (${each.title})`, each.name));
  s.image = $("image").value;
  $("overlay").append(new Option("none", ""), ...labels.map(each => new Option(each.name, each.name)));
  s.overlay = $("overlay").value = labels.length && s.image !== labels[0].name ? labels[0].name : "";
  $("overlay").disabled = $("opacity").disabled = !labels.length;
  $("points-label").hidden = !state.points.length;
  const on = (id, event, act) => $(id).addEventListener(event, act);
  on("image", "change", () => { s.image = $("image").value; s.fit = true; update(); });
  on("overlay", "change", () => { s.overlay = $("overlay").value; update(); });
  on("channel", "change", () => { s.channel = Number($("channel").value); update(); });
  on("opacity", "input", () => { s.opacity = $("opacity").value / 100; render(); });
  on("radiological", "change", () => { s.radiological = $("radiological").checked; render(); });
  on("points", "change", () => { s.points = $("points").checked; render(); });
  on("seed", "change", () => { setSeed(Number($("seed").value)); update(); });
  on("seed-up", "click", () => { setSeed(s.seed + 1); update(); });
  on("seed-down", "click", () => { setSeed(s.seed - 1); update(); });
  on("window", "input", readWindow);
  on("level", "input", readWindow);
  on("auto", "click", auto);
  buttons("planes", {all: "All", axial: "Axial", coronal: "Coronal", sagittal: "Sagittal"}, name => name === "all", choosePlanes);
  buttons("rows", {before: "Before", after: "After", difference: "Difference"}, () => true, (name, button) => {
    s.rows.has(name) && s.rows.size > 1 ? s.rows.delete(name) : s.rows.add(name);
    button.setAttribute("aria-pressed", s.rows.has(name));
    render();
  });
  for (const [name, title] of Object.entries(TABS)) {
    const tab = make("button", {id: `tab-${name}`, role: "tab", textContent: title, dataset: {tab: name}, tabIndex: name === "strip" ? 0 : -1,
      aria: {"aria-selected": false, "aria-controls": "panel"}});
    tab.addEventListener("click", () => openTab(name));
    tab.addEventListener("keydown", event => {
      const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (by) { const all = [...$("tabs").children]; all[(all.indexOf(tab) + by + all.length) % all.length].focus(); }
    });
    $("tabs").append(tab);
  }
  new ResizeObserver(render).observe($("panes"));
  search();
}

async function begin() {
  let state;
  for (;;) {
    state = await (await ask("state")).json();
    if (state.ready) break;
    status("Reading the image", "busy");
    await new Promise(done => setTimeout(done, 200));
  }
  build(state);
  document.body.classList.add("ready");
  try {  // the image is seen before the first result, whose kernels may have to be compiled
    await readBefore();
    answers.after = answers.before;
    render();
  } catch (error) { failure(error); }
  let kept = null;
  try { kept = JSON.parse(sessionStorage.getItem("preview")); } catch { /* begin anew */ }
  if (kept && kept.steps.every(step => forms.has(step.name))) setSteps(kept.steps, kept.seed);
  else setSteps(state.steps || [{name: "RandomAffine", on: true, arguments: {}}], 0);
}

begin().catch(error => failure(error));
