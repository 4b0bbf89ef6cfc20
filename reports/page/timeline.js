// Which bus state each side had, and when.
const BAR = 26, LEFT = 90, SPAN = 890;

function stateChanges(messages) {
  return messages.filter((m) => m.kind === "state" && m.fields && m.fields.side)
    .map((m) => ({side: m.fields.side, name: String(m.fields.name || m.fields.text || "no node"), ns: m.ns}));
}

function timelineOf(messages) {
  const changes = stateChanges(messages);
  if (!changes.length) return null;
  const start = startOf(messages), end = Math.max(...messages.map((m) => m.ns || 0), start + 1);
  const x = (ns) => LEFT + SPAN * (ns - start) / (end - start);
  const sides = ["frontend", "backend"];
  const texts = sides.map((side) => [side, changes.filter((c) => c.side === side)]);
  const picture = svg("svg", {viewBox: `0 0 1000 ${2 * BAR + 34}`, width: 1000, height: 2 * BAR + 34, role: "img", class: "timeline",
    "aria-label": "Bus states over time; the lines below say the same."});
  texts.forEach(([side, own], row) => {
    const y = 4 + row * (BAR + 4);
    picture.append(svg("text", {x: LEFT - 8, y: y + 17, "text-anchor": "end"}, side));
    own.forEach((change, i) => {
      const x1 = x(change.ns), width = Math.max(1, (i + 1 < own.length ? x(own[i + 1].ns) : LEFT + SPAN) - x1);
      picture.append(svg("g", {}, svg("title", {}, `${side} ${change.name} at ${((change.ns - start) / 1e6).toFixed(3)} ms`),
        svg("rect", {x: x1, y, width, height: BAR, class: "bar"}),
        width > 8 * change.name.length && svg("text", {x: x1 + 4, y: y + 17}, change.name)));
    });
  });
  picture.append(svg("text", {x: LEFT, y: 2 * BAR + 26, class: "soft"}, "0 ms"),
    svg("text", {x: LEFT + SPAN, y: 2 * BAR + 26, "text-anchor": "end", class: "soft"}, ((end - start) / 1e6).toFixed(0) + " ms"));
  const lines = texts.filter(([, own]) => own.length).map(([side, own]) =>
    h("li", {}, side + ": " + own.map((c) => `${c.name} ${((c.ns - start) / 1e6).toFixed(1)} ms`).join(" → ")));
  return h("div", {}, h("div", {class: "scroll"}, picture), h("ul", {class: "soft"}, lines));
}
