// Cards of steps, with a control for each argument.

export function make(tag, properties = {}, ...children) {
  const {dataset, aria, ...rest} = properties, element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, dataset || {});
  for (const [name, value] of Object.entries(aria || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Return the text of a value, as one types it, and the value of a text.
export function shown(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value) && value.every(x => typeof x === "number")) return value.map(brief).join(", ");
  return typeof value === "number" ? brief(value) : typeof value === "string" ? value : JSON.stringify(value);
}

const ICONS = {up: "M4 10l4-4 4 4", down: "M4 6l4 4 4-4", copy: "M6 6h7v7H6zM10 6V3H3v7h3", remove: "M4 4l8 8M12 4l-8 8"};

function icon(name) {
  const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg"), path = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

const brief = x => String(Math.round(x * 1e6) / 1e6);

export function typed(text) {
  text = text.trim();
  if (text === "") return null;
  for (const form of [text, `[${text}]`, text.replaceAll("(", "[").replaceAll(")", "]").replaceAll("'", '"')
    .replaceAll("True", "true").replaceAll("False", "false").replaceAll("None", "null")]) {
    try { return JSON.parse(form); } catch { /* the next form */ }
  }
  return text;
}

// Return the ends that a value of a range stands for; null for one that sliders cannot show.
export function ends(control, value) {
  if (Array.isArray(value)) return value.length === 2 && value.every(x => typeof x === "number") ? value : null;
  if (typeof value !== "number") return value === null ? [control.min, control.min] : null;
  const low = {"-d, d": -value, "1 - d, 1 + d": 1 - value, "d, 1": value, "d, d": value}[control.around];
  const first = low ?? parseFloat(control.around);
  return [first, {"1 - d, 1 + d": 1 + value, "d, 1": 1}[control.around] ?? value];
}

const UNITS = {intensity: "a.u.", voxels: "voxels"};

// Return the row of one argument. `change(value, done)` is called while it changes, and at the end.
function row(control, value, id, change, explain) {
  const name = control.name.replaceAll("_", " "), unit = UNITS[control.unit] || control.unit;
  const label = make("label", {htmlFor: id, textContent: name});
  if (unit) label.append(make("span", {className: "unit", textContent: ` ${unit}`}));
  const box = make("div", {className: `row ${control.kind}`, dataset: {argument: control.name}}, label);
  for (const event of ["pointerenter", "focusin"]) {
    box.addEventListener(event, () => explain(control));
  }
  if (control.kind === "flag") {
    const check = make("input", {id, type: "checkbox", checked: value === true});
    check.addEventListener("change", () => change(check.checked, true));
    box.prepend(check);
    return box;
  }
  if (control.kind === "option") {
    const select = make("select", {id});
    const all = control.options.includes(value) || value === null ? control.options : [value, ...control.options];
    if (!control.needed && control.default === null) select.append(new Option("—", "null"));
    for (const each of all) select.append(new Option(String(each), JSON.stringify(each)));
    select.value = JSON.stringify(value);
    select.addEventListener("change", () => change(JSON.parse(select.value), true));
    box.append(select);
    return box;
  }
  if (control.kind === "axes" || control.kind === "names") {
    const list = new Set([value ?? []].flat()), group = make("span", {id, className: "chips", role: "group",
      aria: {"aria-label": name}});
    label.removeAttribute("for");
    for (const each of control.options) {
      const chip = make("button", {type: "button", className: "chip", textContent: typeof each === "number" ? "IJK"[each] : each,
        aria: {"aria-pressed": list.has(each), "aria-label": `${name} ${each}`}});
      chip.addEventListener("click", () => {
        list.has(each) ? list.delete(each) : list.add(each);
        chip.setAttribute("aria-pressed", list.has(each));
        const all = control.options.filter(x => list.has(x));
        change(all.length ? all : control.kind === "names" ? null : [], true);
      });
      group.append(chip);
    }
    box.append(group);
    return box;
  }
  const text = make("input", {id, type: "text", value: shown(value), placeholder: control.needed ? "needed" : "none",
    spellcheck: false, autocomplete: "off"});
  box.append(text);
  const sliders = [];
  const put = (next, done) => { text.value = shown(next); change(next, done); };
  if (control.kind === "number" || control.kind === "numbers" || control.kind === "range") {
    const pair = control.kind === "range", track = make("div", {className: pair ? "sliders two" : "sliders"});
    for (const end of pair ? ["from", "to"] : [""]) {
      const slider = make("input", {type: "range", aria: {"aria-label": `${name} ${end}`.trim()}});
      slider.min = control.min; slider.max = control.max; slider.step = control.step;
      const moved = done => {
        if (!pair) return put(Number(slider.value), done);
        let [a, b] = sliders.map(each => Number(each.value));
        if (a > b) end === "from" ? (b = a) : (a = b);
        sliders[0].value = a; sliders[1].value = b;
        put([a, b], done);
        fill();
      };
      slider.addEventListener("input", () => moved(false));
      slider.addEventListener("change", () => moved(true));
      sliders.push(slider);
      track.append(slider);
    }
    const fill = () => {
      const part = x => 100 * (Number(x) - control.min) / (control.max - control.min);
      track.style.setProperty("--from", `${pair ? part(sliders[0].value) : part(Math.max(control.min, Math.min(0, control.max)))}%`);
      track.style.setProperty("--to", `${part(sliders.at(-1).value)}%`);
    };
    const place = next => {
      const values = pair ? ends(control, next) : typeof next === "number" ? [next] : next === null ? [control.min] : null;
      track.classList.toggle("off", values === null);
      sliders.forEach((slider, n) => { slider.disabled = values === null; if (values) slider.value = values[n]; });
      fill();
    };
    if (!pair) sliders[0].addEventListener("input", fill);
    place(value);
    text.addEventListener("change", () => place(typed(text.value)));
    box.append(track);
  } else if (control.options.length) {
    const list = make("datalist", {id: `${id}-options`}, ...control.options.map(each => new Option("", each)));
    text.setAttribute("list", list.id);
    box.append(list);
  }
  text.addEventListener("change", () => change(typed(text.value), true));
  return box;
}

// Return the card of a step. `act(what, value)` is called for buttons, `explain` with a control.
export function card(step, form, number, count, act, explain) {
  const id = `step${step.id}`, title = `${number + 1}, ${step.name}`;
  const button = (what, label, disabled = false) => {
    const made = make("button", {type: "button", className: "icon", disabled, title: label,
      aria: {"aria-label": `${label}: ${title}`}, dataset: {act: what}}, icon(what));
    made.addEventListener("click", () => act(what));
    return made;
  };
  const on = make("input", {type: "checkbox", className: "switch", checked: step.on, role: "switch",
    aria: {"aria-label": `On: ${title}`}});
  on.addEventListener("change", () => act("switch", on.checked));
  const fold = make("button", {type: "button", className: "name", textContent: step.name, title: form.summary,
    aria: {"aria-expanded": !step.folded, "aria-controls": id}});
  fold.addEventListener("click", () => act("fold"));
  const head = make("div", {className: "head"}, on, fold, button("up", "Move up", number === 0),
    button("down", "Move down", number === count - 1), button("copy", "Duplicate"), button("remove", "Remove"));
  const error = make("p", {className: "error", hidden: true, role: "alert"});
  const body = make("div", {className: "body", id, hidden: step.folded});
  const more = make("details", {open: step.more || false}, make("summary", {textContent: "More"}));
  more.addEventListener("toggle", () => { step.more = more.open; });
  for (const control of form.controls) {
    const given = step.arguments, value = control.name in given ? given[control.name] : control.default;
    const made = row(control, value, `${id}-${control.name}`, (next, done) => {
      if (!control.needed && JSON.stringify(next) === JSON.stringify(control.default)) delete given[control.name];
      else given[control.name] = next;
      made.classList.toggle("changed", control.name in given);
      act("value", done);
    }, explain);
    made.classList.toggle("changed", control.name in given);
    (control.folded ? more : body).append(made);
  }
  if (more.children.length > 1) body.append(more);
  return make("li", {className: step.on ? "step" : "step off", dataset: {step: step.name}}, head, error, body);
}
