// Answers requests to the core of the page, in JSON on standard input, with JSON: `node requests.js FOLDER BUILT`.
"use strict";

const { readFileSync } = require("node:fs");
const vm = require("node:vm");

const [folder, built] = process.argv.slice(2);
for (const file of [built, `${folder}/core.js`, `${folder}/planned.js`, `${folder}/rules.js`]) {
  vm.runInThisContext(readFileSync(file, "utf8"), file);
}
const page = vm.runInThisContext("({ BUILT, Core, RULES, python })");

const text = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

function answer(core, { rule, blend, cut, n, shape, key, x, y, classes }) {
  let plan;
  try {
    if (rule !== undefined) plan = core.draw(rule, n, shape, key);
    else plan = cut ? core.cut(cut, shape) : core.blend(blend);
    return {
      ...{ lam: text(plan.lam), weight: text(plan.weight), partner: text(plan.partner) },
      boxes: plan.boxes && text(plan.boxes),
      x: x === undefined ? null : text(plan.apply(new Uint8ClampedArray(Buffer.from(x, "base64")), shape)),
      y: y === undefined ? null : text(plan.softTargets(y, classes)),
    };
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) throw error;
    return { error: error.message };
  } finally {
    plan?.free();
  }
}

async function main() {
  const core = await page.Core.load(page.BUILT.wasm);
  const requests = JSON.parse(readFileSync(0, "utf8"));
  const rules = page.RULES.map((entry) => ({
    name: entry.name,
    options: entry.options.map(({ name }) => name),
    python: page.python(entry),
  }));
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(Buffer.from(page.BUILT.wasm, "base64")));
  const before = core.wasm.memory.buffer.byteLength;
  const answers = requests.map((request) => answer(core, request));
  console.log(JSON.stringify({ answers, rules, imports, grown: core.wasm.memory.buffer.byteLength - before }));
}

main();
