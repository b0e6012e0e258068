"use strict";

/** The Rust core in WebAssembly, built from examples/explorer.rs: draws plans and mixes pixels of four channels. */
class Core {
  /** Whether options of rules and keys can be chosen. */
  any = true;

  static async load(wasm) {
    const bytes = Uint8Array.from(atob(wasm), (letter) => letter.charCodeAt(0));
    const core = new Core();
    core.wasm = (await WebAssembly.instantiate(bytes)).instance.exports;
    return core;
  }

  /** The plan that a rule, as Python writes it, draws for `n` samples of `shape` with a key of whole numbers. */
  draw(rule, n, [height, width], key) {
    const letters = new TextEncoder().encode(rule);
    const plan = this.#with([letters, BigUint64Array.from(key, BigInt)], (text, items) =>
      this.wasm.draw(text, letters.length, items, key.length, n, height, width),
    );
    return new Plan(this, plan, n);
  }

  /** The plan that blends each of two samples with the other. */
  blend(lam) {
    return new Plan(this, this.wasm.blend(lam), 2);
  }

  /** The plan that takes a box, its starts and ends, of each of two samples from the other. */
  cut(box, [height, width]) {
    return new Plan(this, this.wasm.cut(...box, height, width), 2);
  }

  fail() {
    throw new Error(new TextDecoder().decode(this.read(Uint8Array, this.wasm.message(), this.wasm.message_length())));
  }

  /** A copy of what is in memory there. */
  read(Kind, start, length) {
    // A view of the memory is invalid once the memory has grown.
    return new Kind(this.wasm.memory.buffer, start, length).slice();
  }

  /** Calls with pointers to copies of the arrays, and copies back what the call has written to the last one. */
  call(arrays, call) {
    return this.#with(arrays, (...pointers) => {
      if (!call(...pointers)) this.fail();
      const last = arrays.at(-1);
      return this.read(last.constructor, pointers.at(-1), last.length);
    });
  }

  #with(arrays, call) {
    const words = arrays.map((array) => Math.ceil(array.byteLength / 8));
    const pointers = words.map((count) => this.wasm.allocate(count));
    try {
      arrays.forEach((array, i) => new array.constructor(this.wasm.memory.buffer, pointers[i], array.length).set(array));
      return call(...pointers);
    } finally {
      pointers.forEach((pointer, i) => this.wasm.release(pointer, words[i]));
    }
  }
}

/** A plan of the core. `free` it after use. */
class Plan {
  #core;
  #plan;

  constructor(core, plan, n) {
    if (plan === 0) core.fail();
    const boxes = core.wasm.boxes(plan);
    [this.#core, this.#plan, this.n] = [core, plan, n];
    this.lam = core.read(Float64Array, core.wasm.lam(plan), n);
    this.weight = core.read(Float64Array, core.wasm.weight(plan), n);
    this.partner = core.read(Uint32Array, core.wasm.partner(plan), n);
    /** Six bounds per sample: the starts along three axes (an image has the last two), then the ends. */
    this.boxes = boxes === 0 ? null : core.read(Uint32Array, boxes, 6 * n);
  }

  /** Mixes the pixels of `n` samples, one after the other. */
  apply(x, [height, width]) {
    if (x.length !== this.n * height * width * 4) throw new Error(`expected ${this.n} samples, got ${x.length} bytes`);
    return this.#core.call([x, new Uint8ClampedArray(x.length)], (from, to) =>
      this.#core.wasm.apply(this.#plan, from, to, height, width),
    );
  }

  /** The soft targets of class indices, a row of `classes` for each sample. */
  softTargets(y, classes) {
    return this.#core.call([Uint32Array.from(y), new Float32Array(this.n * classes)], (from, to) =>
      this.#core.wasm.soft_targets(this.#plan, from, classes, to),
    );
  }

  free() {
    this.#core.wasm.free_plan(this.#plan);
  }
}
