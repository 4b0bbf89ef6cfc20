// A recorded message in words.
const WAYS = {f2b: "frontend → backend", b2f: "backend → frontend"};

function wayText(message) {
  return WAYS[message.dir] || "";
}

function fieldText(fields) {
  const names = Object.keys(fields || {});
  if (names.length === 1 && names[0] === "text") return String(fields.text);
  return names.map((name) => name + "=" + valueText(fields[name])).join("  ");
}

function valueText(value) {
  if (Array.isArray(value)) return "[" + value.map(valueText).join(", ") + "]";
  return value !== null && typeof value === "object" ? "{" + fieldText(value) + "}" : String(value);
}

function nodeText(name, value) {
  return value === null ? "no " + name : name + " = " + valueText(value);
}

// A few words for the diagram; the table has all fields.
function shortText(message) {
  const f = message.fields || {};
  switch (message.kind) {
    case "req": return [f.op, "id " + f.id].join(" ");
    case "resp": return [f.op, "id " + f.id, "status " + f.status].join(" ");
    case "evt": return [f.event, "id " + f.id].join(" ");
    case "state": return f.what ? f.what + (f.why ? ": " + f.why : "") : String(f.name || f.text || "no state node");
    case "xs": return f.path ? nodeText(String(f.path).split("/").slice(-2).join("/"), f.value) : fieldText(f);
    case "index": return f.name ? f.name + " = " + valueText(f.value)
      : f.what === "notification" ? "notify " + f.channel : String(f.what || fieldText(f));
    case "guest": return f.call ? String(f.call) : f.return ? f.return + ": " + f.result : fieldText(f);
    default: return fieldText(f);
  }
}

function milliseconds(message, start) {
  return ((message.ns - start) / 1e6).toFixed(3);
}

function startOf(messages) {
  const first = messages.find((message) => typeof message.ns === "number");
  return first ? first.ns : 0;
}
