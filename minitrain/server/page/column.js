// A text of one model: its tokens, and where the reader is in it.

import { stream } from "./requests.js";

const BOUNDS = [0.01, 0.05, 0.2, 0.5, 0.9];

// What a token looks like: line breaks and control characters get a sign.
export function shown(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)));
}

export function quoted(text) {
  return `“${shown(text).replace(/\n/g, "↵")}”`;
}

export function percent(logprob) {
  const share = 100 * Math.exp(logprob);
  return share >= 10 ? `${share.toFixed(0)} %` : share >= 0.1 ? `${share.toFixed(1)} %` : "below 0.1 %";
}

export class Column {
  // label is the model's name for the reader; chosen(column, index) is called when the reader selects a token.
  constructor(model, label, chosen) {
    this.model = model;
    this.chosen = chosen;
    this.all = [];  // {id, text, piece, logprob, best, given, chosen, node}
    this.prompt = 0;  // how many of them are the prompt
    this.selected = -1;
    this.body = null;  // the request that began the text
    this.stopping = null;
    this.following = false;
    this.element = document.createElement("article");
    this.element.className = "column";
    const title = document.createElement("h2");
    title.textContent = label;
    this.speed = document.createElement("p");
    this.speed.className = "speed";
    this.text = document.createElement("div");
    this.text.className = "tokens";
    this.text.setAttribute("role", "group");
    this.text.setAttribute("aria-label", "Text: the arrow keys move between tokens, Enter shows the alternatives");
    this.text.tabIndex = 0;
    this.text.addEventListener("click", (event) => {
      const node = event.target.closest(".t");
      if (node) this.select(Number(node.dataset.index));
    });
    this.text.addEventListener("keydown", (event) => this.key(event));
    this.element.append(title, this.speed, this.text);
  }

  get writing() {
    return this.stopping !== null;
  }

  ids(end = this.all.length) {
    return this.all.slice(0, end).map((token) => token.id);
  }

  // Write a new text.
  async begin(body) {
    this.body = { ...body, model: this.model };
    this.all = [];
    this.prompt = 0;
    this.selected = -1;
    this.text.replaceChildren();
    await this.write([]);
  }

  // Go on after the first `end` tokens, with another token in that place if one is given.
  async goOn(end, token, settings) {
    for (const gone of this.all.splice(end)) gone.node.remove();
    this.selected = -1;
    if (token) this.add({ ...token, piece: token.piece ?? token.text, chosen: true });
    this.body = { ...this.body, ...settings };
    await this.write(this.ids().slice(this.prompt));
  }

  async write(tokens) {
    this.stopping = new AbortController();
    const start = performance.now();
    let first = 0, last = 0, count = 0, why = "";
    this.speed.textContent = "waiting…";
    try {
      for await (const piece of stream("api/generate", { ...this.body, tokens }, this.stopping.signal)) {
        if (piece.prompt && !this.all.length) {
          for (const token of piece.prompt) this.add({ ...token, piece: token.text, given: true });
          this.prompt = this.all.length;
        }
        if (piece.token) {
          last = performance.now();
          first ||= last;
          count += 1;
          this.add(piece.token);
          const rate = count > 1 ? ` · ${((1000 * (count - 1)) / (last - first)).toFixed(0)} tokens/s` : "";
          this.speed.textContent = `first token after ${((first - start) / 1000).toFixed(2)} s${rate} · ${count} tokens`;
        }
        if (piece.finish_reason === "stop") why = " · the model ended the text";
      }
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      why = " · stopped";
    } finally {
      this.stopping = null;
      if (!count) this.speed.textContent = "";
      this.speed.textContent += why;
    }
  }

  stop() {
    this.stopping?.abort();
  }

  add(token) {
    this.follow();
    const node = document.createElement("span");
    node.dataset.index = this.all.length;
    node.className = "t";
    const piece = token.special ? token.text : token.piece;
    if (token.special) node.classList.add("special");
    if (token.given) node.classList.add("given");
    if (token.chosen) node.classList.add("chosen");
    if (token.logprob !== undefined) {
      const share = Math.exp(token.logprob);
      node.classList.add(`p${BOUNDS.filter((bound) => share >= bound).length}`);
      node.title = percent(token.logprob);
    }
    const parts = shown(piece).split("\n");
    parts.forEach((part, number) => {
      if (number) {
        const mark = document.createElement("span");
        mark.className = "mark";
        mark.textContent = "↵";
        node.append(mark, "\n");
      }
      node.append(part);
    });
    if (!piece) {  // a part of a character
      node.textContent = "·";
    }
    token.node = node;
    this.all.push(token);
    this.text.append(node);
  }

  // Keeps the end in sight, but never while the reader looks at earlier text. Once a frame: looking costs a layout.
  follow() {
    if (this.following) return;
    this.following = true;
    const atEnd = this.text.scrollTop + this.text.clientHeight > this.text.scrollHeight - 40;
    const top = this.text.scrollTop;
    requestAnimationFrame(() => {
      this.following = false;
      if (atEnd && this.text.scrollTop >= top) this.text.scrollTop = this.text.scrollHeight;
    });
  }

  select(index, tell = true) {
    if (!this.all.length) return;
    this.all[this.selected]?.node.classList.remove("selected");
    this.selected = Math.max(0, Math.min(index, this.all.length - 1));
    const node = this.all[this.selected].node;
    node.classList.add("selected");
    node.scrollIntoView({ block: "nearest" });
    if (tell) this.chosen(this, this.selected);
  }

  key(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8, Home: -1e9, End: 1e9 };
    if (event.key in steps) {
      event.preventDefault();
      const from = this.selected < 0 ? (event.key === "ArrowLeft" ? this.all.length : this.prompt - 1) : this.selected;
      this.select(from + steps[event.key]);
    } else if (event.key === "Enter" && this.selected >= 0) {
      event.preventDefault();
      document.querySelector("#token .alternatives button")?.focus();
    }
  }

  // Colours the tokens by the weights (from position `start` on) that the selected one gives them.
  attend(start, weights) {
    this.text.classList.toggle("attending", weights !== null);
    const most = weights ? Math.max(...weights, 1e-6) : 1;
    this.all.forEach((token, place) => {
      const weight = weights?.[place - start] ?? 0;
      token.node.style.setProperty("--look-by", (0.6 * weight) / most);
    });
  }
}
