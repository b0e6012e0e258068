"use strict";

/** From `first` to `last` by `step`, each number rounded to what is written. */
const steps = (first, last, step) =>
  Array.from({ length: Math.round((last - first) / step) + 1 }, (_, i) => Number((first + i * step).toFixed(6)));

const SHARES = steps(0, 1, 0.05);
const ALPHAS = [...steps(0, 0.5, 0.05), 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 16, 32];

// The options of rules. A slider and the parts of a list can be set to `values`. A list is None, or has a slider for each
// of its `parts`; once one was set, `fit` makes the others fit.
const alpha = (value) => ({ name: "alpha", label: "α", kind: "slider", value, values: ALPHAS, shown: true });
const mode = (value, ...choices) => ({ name: "mode", label: "mode", kind: "choice", value, choices });
const fold = { name: "fold", label: "fold λ to ½ … 1", kind: "switch", value: true };
const ranged = (name, value, values) => ({ name, label: name, kind: "slider", value, values });
const prob = ranged("prob", 1, SHARES);
const range = (name, value, preset, values, whole = false) => ({
  name, label: name, kind: "list", value, preset: () => preset, values, whole, parts: () => ["min", "max"],
  fit: (list, at) => list.map((item, i) => (i < at ? Math.min(item, list[at]) : Math.max(item, list[at]))),
});
const rules = (...value) => ({ name: "rules", label: "rules", kind: "rules", value, shown: true, bare: true });
const probs = {
  name: "probs", label: "probs", kind: "list", value: null, values: SHARES,
  parts: (chosen) => chosen.rules,
  preset: (chosen) => chosen.rules.map(() => Math.floor(20 / chosen.rules.length) / 20),
  // Together they are at most 1.
  fit(list, at) {
    const others = list.reduce((sum, item) => sum + item, 0) - list[at];
    const scale = others > 1 - list[at] ? (1 - list[at]) / others : 1;
    return list.map((item, i) => (i === at ? item : Math.floor(item * scale * 20 + 1e-6) / 20));
  },
};

/**
 * Every rule of the core: a new one is one entry, whose `word` examples/explorer.rs reads and whose options stand in
 * the order of its Python class, with its defaults.
 */
const RULES = [
  {
    name: "Mixup", word: "mixup", about: "Blends each picture with its partner, λ of the one and 1 − λ of the other.",
    options: [alpha(0.4), mode("elem", "elem", "pair", "batch"), fold, prob],
  },
  {
    name: "CutMix", word: "cutmix", about: "Takes a box of each picture from its partner. λ is the share that stays.",
    options: [alpha(1), mode("batch", "elem", "pair", "batch"), range("minmax", null, [0.2, 0.8], SHARES), prob],
  },
  {
    name: "FMix", word: "fmix", about: "Takes blobs of each picture from its partner, of low frequencies.",
    options: [
      alpha(1), ranged("decay", 3, steps(1, 6, 0.5)), ranged("soft", 0, SHARES), mode("batch", "elem", "pair", "batch"), prob,
    ],
  },
  {
    name: "GridMix", word: "gridmix", about: "Takes cells of a grid of each picture from its partner.",
    options: [alpha(1), range("cells", [2, 6], null, steps(1, 12, 1), true), mode("batch", "elem", "pair", "batch"), prob],
  },
  {
    name: "SmoothMix", word: "smoothmix", about: "Takes a region of each picture from its partner, with soft edges.",
    options: [alpha(1), mode("batch", "elem", "pair", "batch"), prob],
  },
  {
    name: "ResizeMix", word: "resizemix", about: "Pastes the whole partner, made smaller, into each picture.",
    options: [range("scale", [0.1, 0.8], null, SHARES), mode("batch", "elem", "pair", "batch"), prob],
  },
  {
    name: "OneOf", word: "one_of", about: "One rule of several, chosen for each batch or for each picture.",
    options: [rules("Mixup", "CutMix"), probs, mode("batch", "elem", "batch")],
  },
];

const entryOf = (name) => RULES.find((entry) => entry.name === name);

/** The defaults of a rule's options, by name. */
const defaultsOf = (entry) => Object.fromEntries(entry.options.map((option) => [option.name, option.value]));

/** A rule in the words that the core reads. */
function words(entry, values = defaultsOf(entry)) {
  const word = (option) => {
    const value = values[option.name];
    if (option.kind === "rules") return [value.length, ...value.map((name) => words(entryOf(name)))].join(" ");
    return [value ?? "none"].flat().join(" ");
  };
  return [entry.word, ...entry.options.map(word)].join(" ");
}

/** A rule in Python: what is not a default, and what is always shown. */
function python(entry, values = defaultsOf(entry)) {
  const isChosen = (option) => option.shown || String(values[option.name]) !== String(option.value);
  const written = (option) => (option.bare ? "" : `${option.name}=`) + literal(option, values[option.name]);
  return `mixup_rs.${entry.name}(${entry.options.filter(isChosen).map(written).join(", ")})`;
}

function literal(option, value) {
  if (value === null) return "None";
  if (option.kind === "rules") return `[${value.map((name) => python(entryOf(name))).join(", ")}]`;
  if (Array.isArray(value)) return `(${value.map((item) => literal(option, item)).join(", ")}${value.length === 1 ? "," : ""})`;
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return `"${value}"`;
  return Number.isInteger(value) && !option.whole ? `${value}.0` : String(value);
}
