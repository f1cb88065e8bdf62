// The page: the result of the pipeline, its steps, and how it begins.

import {card, make, shown} from "./controls.js";
import {TABS, openTab, refresh} from "./drawer.js";
import {auto, choosePlanes, readWindow, render, showWindow} from "./planes.js";
import {search} from "./search.js";
import {$, answers, ask, forms, page, s, wish} from "./state.js";
import {decode, times} from "./volumes.js";

let count = 0;

// The result

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
  search(add);
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

Object.assign(page, {update, setSteps, setSeed, showSteps});
begin().catch(error => failure(error));
