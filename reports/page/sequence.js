// The sequence diagram: who told whom what, when; the offending step and the failed checks in their place.
const ROW = 24, TOP = 34, WIDTH = 1000, PIECE = 40;
const LANES = {program: 150, frontend: 370, backend: 640, store: 890};
const LANE_NAMES = {program: "program", frontend: "frontend", backend: "backend", store: "XenStore"};
const SIDES = {f2b: ["frontend", "backend"], b2f: ["backend", "frontend"]};

// From which lane to which, or null for a note.
function courseOf(message) {
  const sides = SIDES[message.dir];
  const f = message.fields || {};
  if (message.kind === "guest" && (f.call || f.return)) return f.call ? ["program", "frontend"] : ["frontend", "program"];
  if (!sides) return null;
  return message.kind === "state" || message.kind === "xs" ? [sides[0], "store"] : sides;
}

function clipped(text, length) {
  return text.length > length ? text.slice(0, length - 1) + "…" : text;
}

function arrow(from, to, y, style) {
  const x1 = LANES[from], x2 = LANES[to], way = x2 > x1 ? 1 : -1;
  return [
    svg("line", {x1, y1: y, x2: x2 - 7 * way, y2: y, class: style === "thin" ? "thin" : style + "arrow"}),
    svg("polygon", {points: `${x2},${y} ${x2 - 9 * way},${y - 4} ${x2 - 9 * way},${y + 4}`, class: style === "thin" ? "thin-head" : style + "head"}),
  ];
}

function messageRow(message, y, start, marked) {
  const course = courseOf(message);
  const style = marked ? "offending-" : message.kind === "index" || message.kind === "guest" ? "thin" : "";
  const label = clipped(shortText(message), course ? 40 : 100);
  const middle = course ? (LANES[course[0]] + LANES[course[1]]) / 2 : LANES.frontend - 40;
  return svg("g", {"data-seq": message.seq, "data-marked": marked},
    svg("title", {}, `${message.kind} ${wayText(message)} ${fieldText(message.fields)}`),
    marked && svg("rect", {x: 0, y: y - ROW + 8, width: WIDTH, height: ROW, class: "offending"}),
    svg("text", {x: 78, y: y, "text-anchor": "end", class: "soft"}, milliseconds(message, start)),
    course && arrow(course[0], course[1], y + 3, style),
    svg("text", {x: middle, y: y - 1, "text-anchor": course ? "middle" : "start", class: marked ? "offending-text" : course ? null : "soft"},
      course ? label : "· " + label),
    marked && svg("text", {x: WIDTH - 4, y: y, "text-anchor": "end", class: "offending-text"}, "◀ offending step"));
}

function checkRow(check, y) {
  const text = `✗ ${check.requirement}: expected ${check.expected.join(" or ")}; saw ${check.seen}`;
  return svg("g", {"data-check": check.requirement}, svg("title", {}, text),
    svg("line", {x1: 84, y1: y + 5, x2: WIDTH, y2: y + 5, class: "failed"}),
    svg("text", {x: 84, y: y, class: "offending-text"}, clipped(text, 120)));
}

// In pieces, each under its lanes' names: a page of paper holds one, and the names stay in sight.
function sequenceDiagram(steps, marks, withIndices) {
  const shown = steps.filter((step) => withIndices || !step.message || step.message.kind !== "index" || marks.has(step.message.seq));
  const start = startOf(steps.filter((step) => step.message).map((step) => step.message));
  const used = Object.keys(LANES).filter((lane) => lane !== "program" || steps.some((step) => step.message && step.message.kind === "guest"));
  const pieces = [];
  for (let at = 0; at < shown.length; at += PIECE) {
    const rows = shown.slice(at, at + PIECE);
    pieces.push(piece(rows, `steps ${at + 1} to ${at + rows.length} of ${shown.length}`, used, start, marks));
  }
  return pieces;
}

function piece(rows, which, lanes, start, marks) {
  const height = TOP + ROW * (rows.length + 1);
  const offending = rows.filter((step) => step.message && marks.has(step.message.seq)).map((step) => shortText(step.message));
  const picture = svg("svg", {viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height, role: "img", class: "sequence",
    "aria-label": `Sequence diagram, ${which}; offending: ${offending.join(", ") || "none"}. The table of messages says the same.`});
  picture.append(svg("text", {x: 78, y: 16, "text-anchor": "end", class: "soft"}, "ms"));
  for (const lane of lanes) {
    picture.append(svg("line", {x1: LANES[lane], y1: 24, x2: LANES[lane], y2: height, class: "lane"}),
      svg("text", {x: LANES[lane], y: 16, "text-anchor": "middle", "font-weight": "bold"}, LANE_NAMES[lane]));
  }
  rows.forEach((step, i) => {
    const y = TOP + ROW * (i + 1) - 8;
    picture.append(step.message ? messageRow(step.message, y, start, marks.has(step.message.seq))
      : step.check ? checkRow(step.check, y)
        : svg("text", {x: LANES.frontend, y, class: "soft"}, `⋮ ${step.gap} messages are not shown`));
  });
  return picture;
}
