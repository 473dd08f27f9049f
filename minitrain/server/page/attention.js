// Shows the weights of a head: as colours of the text, as words, and as a map.

import { ask } from "./requests.js";
import { quoted } from "./column.js";

export class Attention {
  constructor(elements, failed) {
    Object.assign(this, elements);  // panel, layer, head, looks, map
    this.failed = failed;
    this.column = null;
    this.known = null;  // the answer, and what it is about
    this.asked = 0;
  }

  offer(layers, heads) {
    for (const [select, count] of [[this.layer, layers], [this.head, heads]]) {
      select.replaceChildren(...Array.from({ length: count }, (_, n) => new Option(`${n + 1} of ${count}`, n)));
      select.addEventListener("change", () => this.show(this.column));
    }
    if (layers) this.layer.value = Math.floor((layers - 1) / 2);
  }

  // Asks for the weights, if they are not known, and shows those of the selected token.
  async show(column) {
    this.column = column;
    if (!column?.all.length || column.writing) return;
    const about = { model: column.model, tokens: column.ids(), layer: Number(this.layer.value), head: Number(this.head.value) };
    const name = JSON.stringify(about);
    if (this.known?.name !== name) {
      const number = (this.asked += 1);
      try {
        const answer = await ask("api/attention", about);
        if (number !== this.asked) return;  // the reader has chosen something else
        this.known = { name, ...answer };
      } catch (error) {
        this.failed(error);
        return;
      }
      this.draw();
    }
    this.mark();
  }

  mark() {
    const { start, weights } = this.known;
    const place = this.column.selected < 0 ? this.column.all.length - 1 : this.column.selected;
    const row = weights[place - start];
    if (!row) {
      this.looks.textContent = "This token is too far back: attention is shown for the end of the text.";
      this.column.attend(0, []);
      return;
    }
    this.column.attend(start, row);
    const best = row.map((weight, n) => [weight, n]).sort((a, b) => b[0] - a[0]).filter(([weight], n) => !n || (n < 5 && weight >= 0.01));
    const words = best.map(([weight, n]) => `${quoted(this.column.all[start + n].text)} ${(100 * weight).toFixed(0)} %`);
    this.looks.textContent = `${quoted(this.column.all[place].text)} takes in most of: ${words.join(", ")}`;
    this.draw(place - start);
  }

  draw(row = -1) {
    const { weights } = this.known, size = weights.length;
    const scale = Math.max(1, Math.floor(544 / size));
    this.map.width = this.map.height = size * scale;
    const paint = this.map.getContext("2d"), style = getComputedStyle(document.documentElement);
    const colour = style.getPropertyValue("--look");
    paint.fillStyle = style.getPropertyValue("--panel");
    paint.fillRect(0, 0, size * scale, size * scale);
    weights.forEach((of, t) => of.forEach((weight, s) => {
      if (weight < 0.005) return;
      paint.fillStyle = `rgba(${colour}, ${Math.sqrt(weight)})`;  // the root shows small weights too
      paint.fillRect(s * scale, t * scale, scale, scale);
    }));
    if (row >= 0) {
      paint.strokeStyle = style.getPropertyValue("--ink");
      paint.strokeRect(0.5, row * scale + 0.5, (row + 1) * scale - 1, scale - 1);
    }
  }

  hide() {
    this.column?.attend(0, null);
  }
}
