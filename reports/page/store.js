// The data of the cases as they stand in the page: base64, deflate, a line of JSON and then one line per message.
const packed = Array.from(document.querySelectorAll("script.packed"));
const cases = Array.from(document.querySelectorAll("details.case"));
const numberOf = new Map(cases.map((element, number) => [element.id, number]));
const unpackedCases = new Map();

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

function parsed(line) {
  try {
    const record = JSON.parse(line);
    return record !== null && typeof record === "object" ? record : {kind: "log", dir: "-", fields: {text: line}};
  } catch {
    return {kind: "log", dir: "-", fields: {text: line}};
  }
}

async function load(number) {
  const text = await inflate(packed[number].textContent.trim());
  const lines = text.split("\n");
  const about = JSON.parse(lines[0]);
  about.messages = lines.slice(1).filter((line) => line).map(parsed);
  return about;
}

// The case with this anchor, or null.
function caseData(anchor) {
  const number = numberOf.get(anchor);
  if (number === undefined) return Promise.resolve(null);
  if (!unpackedCases.has(anchor)) unpackedCases.set(anchor, load(number));
  return unpackedCases.get(anchor);
}

function picture(sha) {
  return "data:image/png;base64," + document.getElementById("picture-" + sha).textContent.trim();
}

// Steps in order: messages, gaps where some are left out, and the failed checks of this case.
function stepsOf(about, checks) {
  const steps = [];
  let at = 0, next = 0, index = 0;
  const due = checks.filter((check) => check.mark).sort((a, b) => a.mark.at - b.mark.at);
  const place = (before) => { while (next < due.length && due[next].mark.at <= before) steps.push({check: due[next++]}); };
  for (const [first, count] of about.indices || []) {
    if (first > index) { steps.push({gap: first - index}); index = first; }
    for (let i = 0; i < count; i++, index++) { place(index); steps.push({message: about.messages[at++]}); }
  }
  if ((about.total || 0) > index) steps.push({gap: about.total - index});
  place(Infinity);
  return steps;
}
