"use strict";

/** From `first` to `last` by `step`, each number rounded to what is written. */
const steps = (first, last, step) =>
  Array.from({ length: Math.round((last - first) / step) + 1 }, (_, i) => Number((first + i * step).toFixed(6)));

const SHARES = steps(0, 1, 0.05);
const ALPHAS = [...steps(0, 0.5, 0.05), 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 16, 32];

/** What sliders of an option can be set to: shares, or up to twice its default. */
function valuesOf({ value, whole }) {
  const most = Math.max(...[value ?? 1].flat());
  if (whole) return steps(1, Math.max(2 * most, 2), 1);
  return most <= 1 ? SHARES : steps(0, 2 * most, most / 10);
}

/**
 * What an option looks like, by its name, beyond its kind: a slider and the parts of a list can be set to `values`. A
 * list is None, or has a slider for each of its `parts`; once one was set, `fit` makes the others fit.
 */
const LOOKS = {
  alpha: { label: "α", values: ALPHAS, shown: true },
  fold: { label: "fold λ to ½ … 1" },
  minmax: { preset: () => [0.2, 0.8] },
  rules: { kind: "rules", value: ["Mixup", "CutMix"], shown: true, bare: true },
  probs: {
    parts: (chosen) => chosen.rules,
    preset: (chosen) => chosen.rules.map(() => Math.floor(20 / chosen.rules.length) / 20),
    // Together they are at most 1.
    fit(list, at) {
      const others = list.reduce((sum, item) => sum + item, 0) - list[at];
      const scale = others > 1 - list[at] ? (1 - list[at]) / others : 1;
      return list.map((item, i) => (i === at ? item : Math.floor(item * scale * 20 + 1e-6) / 20));
    },
  },
};

const LIST = {
  parts: () => ["min", "max"],
  fit: (list, at) => list.map((item, i) => (i < at ? Math.min(item, list[at]) : Math.max(item, list[at]))),
};

/** Every rule of the core, with the options of its Python class: tools/explorer.py reads them there. */
const RULES = (typeof BUILT === "undefined" ? [] : BUILT.rules).map((entry) => ({
  ...entry,
  options: entry.options.map((option) => ({ label: option.name, values: valuesOf(option), ...LIST, ...option, ...LOOKS[option.name] })),
}));

const entryOf = (name) => RULES.find((entry) => entry.name === name);

/** The defaults of a rule's options, by name. */
const defaultsOf = (entry) => Object.fromEntries(entry.options.map((option) => [option.name, option.value]));

/** A rule in Python, which the core reads as well: what is not a default, and what is always shown. */
function python(entry, values = defaultsOf(entry)) {
  const isChosen = (option) => option.shown || String(values[option.name]) !== String(option.value);
  const written = (option) => (option.bare ? "" : `${option.name}=`) + literal(option, values[option.name]);
  return `${entry.name}(${entry.options.filter(isChosen).map(written).join(", ")})`;
}

function literal(option, value) {
  if (value === null) return "None";
  if (option.kind === "rules") return `[${value.map((name) => python(entryOf(name))).join(", ")}]`;
  if (Array.isArray(value)) return `(${value.map((item) => literal(option, item)).join(", ")}${value.length === 1 ? "," : ""})`;
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return `"${value}"`;
  return Number.isInteger(value) && !option.whole ? `${value}.0` : String(value);
}
