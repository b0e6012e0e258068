"use strict";

/** An element with attributes, properties and children. */
function element(name, { dataset = {}, ...given } = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

/** A number as it is shown: at most two decimals, and no more than needed. */
const shown = (number) => String(Number(number.toFixed(2)));

/** A slider along listed values. Its method `set` moves it. */
function slider(id, label, values, value, change) {
  const output = element("output", { htmlFor: id });
  const input = element("input", { type: "range", id, min: 0, max: values.length - 1, step: 1 });
  const say = (value) => {
    output.textContent = shown(value);
    input.setAttribute("aria-valuetext", shown(value));
  };
  input.addEventListener("input", () => {
    say(values[input.value]);
    change(values[input.value]);
  });
  const made = element("div", { className: "option" }, element("label", { htmlFor: id, textContent: label }), input, output);
  made.set = (value) => {
    input.value = values.indexOf(value);
    say(value);
  };
  made.set(value);
  return made;
}

function checkbox(label, checked, change) {
  const input = element("input", { type: "checkbox", checked });
  input.addEventListener("change", () => change(input.checked));
  return element("label", { className: "switch" }, input, ` ${label}`);
}

/**
 * A control for each kind of option, which shows `chosen[option.name]`. `change` gets another value, and whether other
 * controls come or go with it.
 */
const CONTROLS = {
  slider: (option, chosen, change) =>
    slider(`option-${option.name}`, option.label, option.values, chosen[option.name], change),

  switch: (option, chosen, change) =>
    element("div", { className: "option wide" }, checkbox(option.label, chosen[option.name], change)),

  choice(option, chosen, change) {
    const radio = (choice) => {
      const input = element("input", { type: "radio", name: option.name, value: choice, checked: choice === chosen[option.name] });
      input.addEventListener("change", () => change(choice));
      return element("label", {}, input, element("span", { textContent: choice }));
    };
    const choices = element("div", { className: "choices" }, ...option.choices.map(radio));
    return element("fieldset", { className: "option" }, element("legend", { textContent: option.label }), choices);
  },

  list(option, chosen, change) {
    const legend = element("legend", { className: "hidden", textContent: option.label });
    const group = element("fieldset", { className: "option wide" }, legend);
    if (option.value === null) {
      const preset = (on) => change(on ? option.preset(chosen) : null, true);
      group.append(checkbox(option.label, chosen[option.name] !== null, preset));
    }
    const part = (name, at) =>
      slider(`option-${option.name}-${at}`, option.value === null ? name : `${option.label} ${name}`, option.values, chosen[option.name][at], (value) => {
        const fitted = option.fit(chosen[option.name].with(at, value), at);
        parts.forEach((part, i) => part.set(fitted[i]));
        change(fitted);
      });
    const parts = chosen[option.name] === null ? [] : option.parts(chosen).map(part);
    group.append(...parts);
    return group;
  },

  rules(option, chosen, change) {
    const names = RULES.map((entry) => entry.name).filter((name) => !entryOf(name).options.includes(option));
    const box = (name) =>
      checkbox(name, chosen[option.name].includes(name), (on) => {
        const others = names.filter((other) => (other === name ? on : chosen[option.name].includes(other)));
        if ("probs" in chosen) chosen.probs = null;
        // One at least: the last one stays.
        change(others.length > 0 ? others : [name], true);
      });
    return element("fieldset", { className: "option" }, element("legend", { textContent: option.label }), element("div", { className: "boxes" }, ...names.map(box)));
  },
};

/** Fills `place` with the controls of a rule's options, and calls `change` after each change of `chosen`. */
function showOptions(place, entry, chosen, change) {
  const control = (option) =>
    CONTROLS[option.kind](option, chosen, (value, others = false) => {
      chosen[option.name] = value;
      if (others) {
        const focused = [...place.querySelectorAll("input")].indexOf(document.activeElement);
        showOptions(place, entry, chosen, change);
        place.querySelectorAll("input")[focused]?.focus();
      }
      change();
    });
  place.replaceChildren(place.querySelector("legend"), ...entry.options.map(control));
}
