"use strict";

/** Plans drawn when the page was built, for where the core could not be compiled. They are applied in JavaScript. */
class PlannedCore {
  any = false;

  constructor(plans) {
    this.plans = plans;
  }

  /** The rules, as Python writes them, that there are plans of. */
  get rules() {
    return Object.keys(this.plans);
  }

  draw(rule, n, shape, [seed, step]) {
    const plans = this.plans[rule];
    const { lam, weight, partner, boxes } = plans[step % plans.length];
    return new PlannedPlan(lam, weight, partner, boxes);
  }

  blend(lam) {
    return new PlannedPlan([lam, lam], [lam, lam], [1, 0], null);
  }

  cut([top, left, bottom, right], [height, width]) {
    const lam = 1 - ((bottom - top) * (right - left)) / (height * width);
    const box = [0, top, left, 1, bottom, right];
    return new PlannedPlan([lam, lam], [1, 1], [1, 0], [...box, ...box]);
  }
}

class PlannedPlan {
  constructor(lam, weight, partner, boxes) {
    Object.assign(this, { n: lam.length, lam, weight, partner, boxes });
  }

  apply(x, [height, width]) {
    const [size, out] = [height * width * 4, x.slice()];
    for (let i = 0; i < this.n; i++) {
      const own = x.subarray(i * size, (i + 1) * size);
      const other = x.subarray(this.partner[i] * size, (this.partner[i] + 1) * size);
      for (let at = 0; at < size; at++) {
        out[i * size + at] = Math.round(own[at] * this.weight[i] + other[at] * (1 - this.weight[i]));
      }
      if (this.boxes) this.#cut(out.subarray(i * size, (i + 1) * size), other, width, this.boxes.slice(6 * i, 6 * i + 6));
    }
    return out;
  }

  #cut(own, other, width, [, top, left, , bottom, right]) {
    for (let y = top; y < bottom; y++) {
      const [start, end] = [(y * width + left) * 4, (y * width + right) * 4];
      own.set(other.subarray(start, end), start);
    }
  }

  softTargets(y, classes) {
    const targets = new Float32Array(this.n * classes);
    for (let i = 0; i < this.n; i++) {
      targets[i * classes + y[i]] += this.lam[i];
      targets[i * classes + y[this.partner[i]]] += 1 - this.lam[i];
    }
    return targets;
  }

  free() {}
}
