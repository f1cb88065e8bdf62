// Search for a transform to add.

import {make} from "./controls.js";
import {$, forms} from "./state.js";

export function search(add) {
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
