// One case, opened.
function requirementItem(id) {
  const row = document.getElementById("requirement-" + id);
  return row ? Array.from(row.cells[0].childNodes).map((node) => node.cloneNode(true)) : [h("strong", {}, id)];
}

// Failed checks of one requirement, one after another, stand under it together.
function grouped(checks) {
  const groups = [];
  for (const check of checks) {
    const last = groups.length ? groups[groups.length - 1] : null;
    if (last && last[0].requirement === check.requirement && last[0].level === check.level) last.push(check);
    else groups.push([check]);
  }
  return groups;
}

function checkTable(check) {
  const rows = check.expected.map((outcome, i) => h("tr", {}, h("th", {scope: "row"}, i ? "or" : "expected"), h("td", {class: "fact"}, outcome)));
  return h("table", {class: "check"}, h("tbody", {}, rows,
    h("tr", {}, h("th", {scope: "row"}, "seen"), h("td", {class: "fact seen"}, h("strong", {class: "bad"}, check.seen))),
    check.during && h("tr", {}, h("th", {scope: "row"}, "during"), h("td", {}, h("a", {href: "#" + check.during}, check.during))),
    check.mark && check.mark.how && h("tr", {}, h("th", {scope: "row"}, "marked below"), h("td", {}, check.mark.how))));
}

function checkPart(checks) {
  return [
    h("h3", {}, checks[0].level === "should" ? "Recommendation not followed" : "Requirement not kept",
      checks.length > 1 && h("span", {class: "soft"}, ` ${checks.length} times`)),
    h("p", {class: "requirement"}, requirementItem(checks[0].requirement)), checks.map(checkTable),
  ];
}

function exchangePart(about, checks, title) {
  const steps = stepsOf(about, checks);
  if (!steps.length) return null;
  const marks = new Set(checks.filter((check) => check.mark && check.mark.seq >= 0).map((check) => check.mark.seq));
  const place = h("div", {class: "scroll"}, sequenceDiagram(steps, marks, false));
  const box = h("input", {type: "checkbox"});
  box.addEventListener("change", () => place.replaceChildren(...sequenceDiagram(steps, marks, box.checked)));
  return [
    h("h3", {}, title, h("span", {class: "soft"}, ` ${about.total} messages`)),
    h("label", {class: "controls"}, box, " with ring indices and notifications"), place,
    later("Messages as a table, with their octets", () => messageTable(steps, marks)),
  ];
}

async function exchanges(about) {
  const parts = [exchangePart(about, (about.checks || []).filter((check) => !check.during), "Messages")];
  const watched = new Set((about.checks || []).map((check) => check.during).filter((during) => during));
  for (const anchor of Array.from(watched).slice(0, 3)) {
    const other = await caseData(anchor);
    if (other) parts.push(exchangePart(other, about.checks.filter((check) => check.during === anchor), "Messages of " + anchor));
  }
  return parts;
}

function logPart(lines) {
  if (!lines || !lines.length) return null;
  return [h("h3", {}, "New kernel log lines"), h("pre", {class: "log", tabindex: 0, role: "region", "aria-label": "New kernel log lines"}, lines.map(([source, text, cited]) =>
    [cited ? h("mark", {class: "cited"}, "▶ " + source + ": " + text) : source + ": " + text, "\n"]))];
}

function expectationPart(entry) {
  return entry && h("p", {}, `Expectation at ${entry.where}: ${entry.verdict}, because ${entry.reason} (${entry.reference}; ${entry.owner}, until ${entry.expires})`);
}

async function detail(about) {
  const timeline = timelineOf(about.messages);
  const screen = about.artifacts && about.artifacts.length > 0 && [h("h3", {}, "Screen"), screens(about.artifacts, about.id)];
  const differs = screen && hasExpected(about.artifacts);  // then it is evidence, else it illustrates
  return h("div", {class: "detail"},
    h("p", {}, "Verdict ", h("strong", {}, about.verdict), about.seconds ? ` after ${about.seconds} s. ` : ". ", about.reason),
    about.again && h("p", {class: "warn"}, about.again), expectationPart(about.expectation),
    grouped(about.checks || []).map(checkPart), about.more > 0 && h("p", {}, `and ${about.more} more failed checks, in the stream.`),
    about.errors && about.errors.length > 0 && [h("h3", {}, about.verdict === "infra-error" ? "Errors of the suite" : "What ended the case"), about.errors.map((text) => h("pre", {}, text))],
    differs && screen,
    await exchanges(about),
    timeline && [h("h3", {}, "Bus states"), timeline],
    logPart(about.log),
    !differs && screen,
    about.requirements.length > 0 && [h("h3", {}, "What it judges"), h("ul", {}, about.requirements.map((id) => h("li", {}, requirementItem(id))))],
    about.kept && about.kept.length > 0 && h("p", {class: "soft"}, "Checks that held: " + about.kept.map(([id, n]) => `${id} (${n})`).join(", ")),
    h("h3", {}, "Run it again"), h("pre", {class: "repro"}, about.repro),
    about.action && [h("h3", {}, "What ends it"), h("pre", {}, about.action)]);
}
