// The table of messages, and the octets of one on demand.
function hexDump(hex) {
  const lines = [];
  for (let at = 0; at < hex.length; at += 32) {
    const bytes = hex.slice(at, at + 32).match(/../g) || [];
    const text = bytes.map((byte) => { const code = parseInt(byte, 16); return code >= 32 && code < 127 ? String.fromCharCode(code) : "."; });
    lines.push((at / 2).toString(16).padStart(4, "0") + "  " + bytes.join(" ").padEnd(48) + " " + text.join(""));
  }
  return lines.join("\n");
}

function octets(message) {
  const fields = Object.entries(message.fields || {}).map(([name, value]) =>
    h("tr", {}, h("th", {scope: "row"}, name), h("td", {class: "fact"}, h("code", {}, valueText(value)))));
  return h("div", {}, h("pre", {}, hexDump(message.hex)), h("table", {}, h("tbody", {}, fields)));
}

function messageTable(steps, marks) {
  const start = startOf(steps.filter((step) => step.message).map((step) => step.message));
  const row = (step) => {
    if (step.gap) return h("tr", {}, h("td", {colspan: 4, class: "soft"}, `${step.gap} messages are not shown: the stream has them`));
    if (step.check) return h("tr", {class: "marked"}, h("td", {}), h("td", {}, "check"), h("td", {class: "bad"}, "not kept"),
      h("td", {class: "fact"}, `${step.check.requirement}: saw ${step.check.seen}`));
    const m = step.message, marked = marks.has(m.seq);
    return h("tr", {class: marked ? "marked" : null}, h("td", {class: "number"}, milliseconds(m, start)), h("td", {}, m.kind), h("td", {}, wayText(m)),
      h("td", {class: "fact"}, marked && h("strong", {class: "bad"}, "offending step: "), h("code", {}, fieldText(m.fields)), m.hex && later("octets", () => octets(m))));
  };
  return h("div", {class: "scroll"}, h("table", {class: "messages"},
    h("thead", {}, h("tr", {}, ["ms", "kind", "way", "decoded"].map((name) => h("th", {scope: "col"}, name)))), h("tbody", {}, steps.map(row))));
}
