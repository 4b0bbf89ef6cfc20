// What happens when.
async function openCase(element) {
  if (element.dataset.drawn) return;
  element.dataset.drawn = "yes";
  const content = await detail(await caseData(element.id));
  element.append(content);
}

function followHash() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  target.hidden = false;
  if (target.closest("details")) target.closest("details").open = true;
  target.scrollIntoView();
}

function step(way, fits) {
  const shown = cases.filter((element) => !element.hidden);
  const at = shown.findIndex((element) => element.contains(document.activeElement));
  const rest = way > 0 ? shown.slice(at + 1) : shown.slice(0, Math.max(at, 0)).reverse();
  const next = rest.find(fits);
  if (next) next.querySelector("summary").focus();
}

const UNEXPECTED = new Set(["bad", "infra"]);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const actions = {
    "/": () => form.elements.text.focus(), j: () => step(1, () => true), k: () => step(-1, () => true),
    n: () => step(1, (element) => UNEXPECTED.has(element.dataset.tone)),
  };
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
});

for (const element of cases) element.addEventListener("toggle", () => { if (element.open) openCase(element); });
form.addEventListener("input", applyFilter);
form.addEventListener("submit", (event) => event.preventDefault());
form.elements.open.addEventListener("click", () => cases.filter((element) => !element.hidden).slice(0, 200).forEach((element) => { element.open = true; }));
form.elements.close.addEventListener("click", () => cases.forEach((element) => { element.open = false; }));
window.addEventListener("hashchange", followHash);
followHash();
document.documentElement.dataset.ready = "yes";
