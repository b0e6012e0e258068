"use strict";

/** The side of a picture, in pixels, and the number of pictures: tools/explorer.py draws plans for these. */
const [SIDE, PICTURES] = [192, 9];
const SHAPE = [SIDE, SIDE];
const PIXELS = SIDE * SIDE * 4;
/** The class of each picture of the batch, which is a part of the photograph of that number. */
const CLASSES = Array.from({ length: PICTURES }, (_, i) => i % 2);
/** The histogram: its number of bins, of batches whose λ it counts, and of batches drawn between two frames. */
const [BINS, BATCHES, BATCHES_A_FRAME] = [40, 400, 4];
/** The longest time for drawing between two frames, in milliseconds. */
const DRAWING_MS = 8;
/** How a plan is applied, in Python. */
const APPLIED = ["mixed_x = plan.apply(x)", "mixed_y, _ = plan.apply_labels(y, num_classes=2)"];

const find = (id) => document.getElementById(id);
const state = { core: null, photos: [], pair: null, batch: null, entry: RULES[0], chosen: null, seed: 0, step: 0, filling: 0 };

async function start() {
  if (typeof BUILT === "undefined") {
    return note("The file built/data.js is missing. The command “make wasm” writes it.");
  }
  try {
    state.core = BUILT.wasm ? await Core.load(BUILT.wasm) : new PlannedCore(BUILT.plans);
    for (const [at, { name, by, url }] of BUILT.photos.entries()) state.photos[at] = { name, by, image: await imageAt(url) };
  } catch (error) {
    return note(`The page could not be started: ${error.message}`);
  }
  if (!state.core.any) {
    find("claim").hidden = true;
    note("The core could not be compiled where this page was built. It shows plans that were drawn then: the options and the seed are fixed.");
  }
  state.seed = BUILT.seed;
  find("seed").value = state.seed;
  const offered = RULES.filter((entry) => state.core.any || state.core.rules.includes(python(entry)));
  find("rule").replaceChildren(...offered.map(({ name }) => element("option", { value: name, textContent: name })));
  find("page").hidden = false;
  listen();
  showPhotos();
  choose(offered[0]);
}

function listen() {
  find("lam").addEventListener("input", showPair);
  document.querySelectorAll("[name=how]").forEach((radio) => radio.addEventListener("change", showPair));
  document.querySelectorAll("[data-file]").forEach((input) => input.addEventListener("change", () => open(input)));
  document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => copy(button)));
  find("rule").addEventListener("change", () => choose(entryOf(find("rule").value)));
  find("options").addEventListener("submit", (event) => event.preventDefault());
  find("seed").disabled = !state.core.any;
  find("seed").addEventListener("input", () => {
    if (!find("seed").checkValidity() || find("seed").value === "") return;
    [state.seed, state.step] = [find("seed").valueAsNumber, 0];
    showDrawn();
  });
  find("next").addEventListener("click", () => {
    state.step += 1;
    showBatch();
  });
  find("unmixed").addEventListener("change", showBatch);
}

function note(text) {
  find("note").textContent = text;
  find("note").hidden = false;
}

// Pictures

async function imageAt(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

/** Takes a file of the user's as a picture. */
async function open(input) {
  const [file] = input.files;
  if (!file) return;
  const url = URL.createObjectURL(file);
  try {
    const name = file.name.replace(/\.[^.]*$/, "").slice(0, 16);
    state.photos[input.dataset.file] = { name, by: null, image: await imageAt(url) };
    find("note").hidden = state.core.any;
    showPhotos();
    showDrawn();
  } catch {
    note(`${file.name} could not be read as a picture.`);
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** The pixels of a square part of an image: its share of the shorter side, and where it lies along either axis. */
function pixelsOf(image, share, across, down) {
  const canvas = element("canvas", { width: SIDE, height: SIDE });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const side = share * Math.min(image.naturalWidth, image.naturalHeight);
  // What is transparent becomes white.
  context.fillStyle = "white";
  context.fillRect(0, 0, SIDE, SIDE);
  const [left, top] = [(image.naturalWidth - side) * across, (image.naturalHeight - side) * down];
  context.drawImage(image, left, top, side, side, 0, 0, SIDE, SIDE);
  return context.getImageData(0, 0, SIDE, SIDE).data;
}

function joined(samples) {
  const pixels = new Uint8ClampedArray(samples.length * PIXELS);
  samples.forEach((sample, i) => pixels.set(sample, i * PIXELS));
  return pixels;
}

function show(canvas, pixels, at, label) {
  [canvas.width, canvas.height] = SHAPE;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.putImageData(new ImageData(pixels.slice(at * PIXELS, (at + 1) * PIXELS), SIDE, SIDE), 0, 0);
  canvas.setAttribute("aria-label", label);
}

function showPhotos() {
  const { photos } = state;
  const places = [[0.5, 0.5], [0, 0.2], [1, 0.8], [0.25, 1], [0.75, 0]];
  state.pair = joined(photos.map(({ image }) => pixelsOf(image, 1, 0.5, 0.5)));
  state.batch = joined(CLASSES.map((of, i) => pixelsOf(photos[of].image, 0.72, ...places[i >> 1])));
  photos.forEach(({ name }, at) => {
    document.querySelector(`[data-name="${at}"]`).textContent = name;
    show(find(["first", "second"][at]), state.pair, at, name);
  });
  const credits = photos.filter(({ by }) => by).map(({ name, by }) => `${name} by ${by}`);
  find("credits").textContent = credits.length ? `Photographs: ${credits.join(", ")}, CC BY 2.0, from scikit-learn.` : "";
  showPair();
}

// The pair

function showPair() {
  const lam = find("lam").valueAsNumber;
  const isCut = document.querySelector("[name=how]:checked").value === "cut";
  // The box in the middle whose share is nearest to 1 − λ.
  const side = Math.round(SIDE * Math.sqrt(1 - lam));
  const start = (SIDE - side) >> 1;
  const box = [start, start, start + side, start + side];
  const plan = isCut ? state.core.cut(box, SHAPE) : state.core.blend(lam);
  const soft = plan.softTargets([0, 1], 2);
  const text = described(soft.subarray(0, 2));
  show(find("mixed"), plan.apply(state.pair, SHAPE), 0, `The mix: ${text.join(" and ")}`);
  find("lam-value").textContent = lam.toFixed(2);
  find("formula").textContent = text.join(" + ");
  find("bars").replaceChildren(...state.photos.flatMap(({ name }, at) => bar(name, soft[at], at)));
  const shape = `(${SHAPE.join(", ")})`;
  find("pair-code").textContent = [
    "import mixup_rs",
    "",
    `# x: two pictures, (2, 3, ${SHAPE.join(", ")}); y: their classes, [0, 1]`,
    ...(isCut
      ? [
          `plan = mixup_rs.MixPlan.from_boxes([[${box.join(", ")}]] * 2, ${shape}, partner=[1, 0])`,
          ...APPLIED,
        ]
      : [
          `mixed = mixup_rs.mix_batch(x, y, lam=${lam}, partner=[1, 0], num_classes=2)`,
          "mixed_x, mixed_y = mixed.x, mixed.y",
        ]),
  ].join("\n");
  plan.free();
}

function bar(name, share, at) {
  const length = element("span", { className: `bar ${["own", "other"][at]}` });
  length.style.width = `${100 * share}%`;
  const track = element("span", { className: "track" }, length);
  return [
    element("dt", { textContent: name }),
    element("dd", {}, track, element("span", { className: "number", textContent: share.toFixed(2) })),
  ];
}

/** The classes of a soft label and their shares, without those that are not in it. */
const described = (soft) =>
  [...soft.entries()].filter(([, share]) => share > 0).map(([at, share]) => `${share.toFixed(2)} ${state.photos[at].name}`);

// The rule

function choose(entry) {
  Object.assign(state, { entry, chosen: defaultsOf(entry), step: 0 });
  find("about").textContent = entry.about;
  showOptions(find("rule-options"), entry, state.chosen, showDrawn);
  find("rule-options").disabled = !state.core.any;
  showDrawn();
}

function showDrawn() {
  showBatch();
  fill();
}

const drawn = (step) => state.core.draw(python(state.entry, state.chosen), PICTURES, SHAPE, [state.seed, step]);

/** Fills the histogram with the λ of the first batches of this seed, a few between two frames. */
function fill() {
  const counts = new Uint32Array(BINS);
  let [step, sum] = [0, 0];
  const last = state.core.any ? BATCHES : BUILT.plans[python(state.entry)].length;
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const filling = ++state.filling;
  const draw = () => {
    if (filling !== state.filling) return;
    const [from, end] = [step, performance.now() + DRAWING_MS];
    do {
      const plan = drawn(step++);
      for (const lam of plan.lam) {
        counts[Math.min(Math.floor(lam * BINS), BINS - 1)] += 1;
        sum += lam;
      }
      plan.free();
    } while (step < last && performance.now() < end && (isStill || step - from < BATCHES_A_FRAME));
    showHistogram(counts, step, sum / (step * PICTURES));
    if (step < last) requestAnimationFrame(draw);
  };
  draw();
}

function showHistogram(counts, batches, mean) {
  const svg = find("histogram");
  const { width, height } = svg.viewBox.baseVal;
  if (svg.childElementCount !== BINS) {
    const rect = () => document.createElementNS("http://www.w3.org/2000/svg", "rect");
    svg.replaceChildren(...Array.from({ length: BINS }, rect));
  }
  const most = Math.max(...counts);
  [...svg.children].forEach((rect, bin) => {
    const length = (counts[bin] / most) * height;
    const place = { x: (bin * width) / BINS + 1, y: height - length, width: width / BINS - 2, height: length };
    for (const [name, value] of Object.entries(place)) rect.setAttribute(name, value);
  });
  const text = `${(batches * PICTURES).toLocaleString("en")} weights λ of ${batches} batches, on average ${mean.toFixed(3)}`;
  find("drawn").textContent = text;
  svg.setAttribute("aria-label", `Histogram of λ from 0 to 1: ${text}`);
}

// The batch

function showBatch() {
  const plan = drawn(state.step);
  const isMixed = !find("unmixed").checked;
  const pixels = isMixed ? plan.apply(state.batch, SHAPE) : state.batch;
  const soft = isMixed ? plan.softTargets(CLASSES, 2) : Float32Array.from(CLASSES.flatMap((of) => [1 - of, of]));
  const place = find("batch");
  if (place.childElementCount !== PICTURES) place.replaceChildren(...CLASSES.map(picture));
  [...place.children].forEach((item, i) => {
    const label = soft.subarray(2 * i, 2 * i + 2);
    const text = described(label);
    show(item.querySelector("canvas"), pixels, i, text.join(" and "));
    item.querySelector(".bar.own").style.width = `${100 * label[0]}%`;
    item.querySelector(".shares").replaceChildren(...text.map((share) => element("span", { textContent: share })));
  });
  const key = `(${state.seed}, ${state.step})`;
  const shape = `(${SHAPE.join(", ")})`;
  find("key").textContent = key;
  const rule = python(state.entry, state.chosen);
  find("batch-code").textContent = [
    `from mixup_rs import ${[...new Set(rule.match(/\w+(?=\()/g))].sort().join(", ")}`,
    "",
    `# x: nine pictures, (${[PICTURES, 3, ...SHAPE].join(", ")}); y: their classes, [${CLASSES.join(", ")}]`,
    `rule = ${rule}`,
    `plan = rule.plan(${PICTURES}, ${shape}, rng=${key})`,
    ...APPLIED,
  ].join("\n");
  plan.free();
}

function picture() {
  const track = element("span", { className: "track" }, element("span", { className: "bar own" }));
  return element("li", {}, element("canvas", { role: "img" }), track, element("span", { className: "shares" }));
}

async function copy(button) {
  const code = find(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    // The browser refuses: selected, it is one key away.
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

start();
