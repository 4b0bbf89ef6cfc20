// Which cases are shown.
const form = document.querySelector("form.filters");
const texts = cases.map((element) => element.querySelector("summary").textContent.toLowerCase());

function applyFilter() {
  const wanted = Object.fromEntries(["label", "role", "group", "level", "text"].map((name) => [name, form.elements[name].value]));
  const words = wanted.text.toLowerCase().split(/\s+/).filter((word) => word);
  let shown = 0;
  cases.forEach((element, i) => {
    const data = element.dataset;
    const fits = (!wanted.label || data.label === wanted.label) && (!wanted.role || data.role === wanted.role) &&
      (!wanted.group || data.group === wanted.group) && (!wanted.level || data.level.split(" ").includes(wanted.level)) &&
      words.every((word) => texts[i].includes(word));
    element.hidden = !fits;
    shown += fits ? 1 : 0;
  });
  form.elements.shown.value = `${shown} of ${cases.length}`;
}
