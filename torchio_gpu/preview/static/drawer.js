// Below the planes: strip, plan, what was drawn, and the pipeline as texts.

import {make, shown} from "./controls.js";
import {render} from "./planes.js";
import {$, answers, ask, forms, page, s, wish} from "./state.js";
import {decode, thumbnail} from "./volumes.js";

export const TABS = {strip: "Strip", explain: "Plan", drawn: "Drawn", python: "Python", yaml: "YAML", command: "Command line"};

export function openTab(name) {
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

export async function refresh() {
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
      page.setSteps(steps, seed);
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
      else page.setSeed(variant.seed);
      page.showSteps();
      page.update();
    });
    return button;
  });
  $("panel").replaceChildren(make("div", {className: "strip"}, make("label", {}, "Vary ", choose), make("div", {className: "thumbs"}, ...pictures)));
}

let settled = 0;

// Make the strip anew once the crosshair rests.
export function restrip() {
  clearTimeout(settled);
  if (s.tab === "strip") settled = setTimeout(refresh, 400);
}
