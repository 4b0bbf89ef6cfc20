// Pictures: what was displayed; beside it what should have been, and where the two differ.
function expectedName(name) {
  return name.replace(/\.png$/, ".expected.png");
}

function hasExpected(artifacts) {
  return artifacts.some((artifact) => artifacts.some((other) => other !== artifact && other.name === expectedName(artifact.name)));
}

function figure(caption, content) {
  return h("figure", {}, content, h("figcaption", {}, caption));
}

function pixels(image) {
  const canvas = h("canvas", {width: image.naturalWidth, height: image.naturalHeight});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// Draws the differing pixels of two pictures of one size in red over a faint copy; returns how many there are and where.
function compare(seen, wanted, canvas) {
  const a = pixels(seen), b = pixels(wanted);
  const context = canvas.getContext("2d");
  const out = context.createImageData(a.width, a.height);
  let count = 0, box = [a.width, a.height, -1, -1];
  for (let i = 0; i < a.data.length; i += 4) {
    const differs = a.data[i] !== b.data[i] || a.data[i + 1] !== b.data[i + 1] || a.data[i + 2] !== b.data[i + 2];
    out.data.set(differs ? [255, 0, 0, 255] : [a.data[i] >> 2, a.data[i + 1] >> 2, a.data[i + 2] >> 2, 255], i);
    if (differs) {
      const x = (i / 4) % a.width, y = Math.floor(i / 4 / a.width);
      count++;
      box = [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x), Math.max(box[3], y)];
    }
  }
  context.putImageData(out, 0, 0);
  return {count, box, total: a.width * a.height};
}

function difference(actual, expected) {
  const text = h("figcaption", {class: "difference"}, "comparing…");
  const canvas = h("canvas", {role: "img", "aria-label": "differing pixels in red"});
  Promise.all([actual.decode(), expected.decode()]).then(() => {
    if (actual.naturalWidth !== expected.naturalWidth || actual.naturalHeight !== expected.naturalHeight) {
      text.textContent = `the sizes differ: ${actual.naturalWidth}x${actual.naturalHeight}, not ${expected.naturalWidth}x${expected.naturalHeight}`;
      return;
    }
    canvas.width = actual.naturalWidth;
    canvas.height = actual.naturalHeight;
    const found = compare(actual, expected, canvas);
    text.textContent = found.count === 0 ? "no pixel differs"
      : `${found.count} of ${found.total} pixels differ, from ${found.box[0]},${found.box[1]} to ${found.box[2]},${found.box[3]}`;
  });
  return h("figure", {}, canvas, text);
}

function screens(artifacts, id) {
  const shown = artifacts.filter((artifact) => artifact.picture);
  const image = (artifact, what) => h("img", {src: picture(artifact.picture), alt: `${artifact.name} of ${id}: ${what}`});
  const expectedNames = new Set(shown.map((artifact) => expectedName(artifact.name)));
  const groups = shown.filter((artifact) => !expectedNames.has(artifact.name)).map((artifact) => {
    const wanted = shown.find((other) => other.name === expectedName(artifact.name) && other !== artifact);
    const actual = image(artifact, "what was displayed");
    if (!wanted) return h("div", {class: "screens"}, figure(artifact.name, actual));
    const expected = image(wanted, "what should have been displayed");
    return h("div", {class: "screens"}, figure("expected", expected), figure("displayed", actual), difference(actual, expected));
  });
  const others = artifacts.filter((artifact) => !artifact.picture).map((artifact) =>
    h("li", {}, artifact.name, " ", artifact.path && h("code", {}, artifact.path), " ", artifact.note));
  return [groups, others.length > 0 && h("ul", {}, others)];
}
