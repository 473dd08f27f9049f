// The page: reads the settings, starts and stops texts, and shows what the reader selects.

import { Attention } from "./attention.js";
import { Column, percent, quoted, shown } from "./column.js";
import { ask, useKey } from "./requests.js";

const find = (name) => document.getElementById(name);

const SLIDERS = [
  ["temperature", "Temperature", 0, 2, 0.05, 0.8, "Below 1, likely tokens become likelier; above 1, rare ones do. 0 always takes the likeliest."],
  ["top_k", "Top-k", 0, 100, 1, 0, "Choose only among this many of the likeliest tokens. 0 is for all."],
  ["top_p", "Top-p", 0.05, 1, 0.01, 1, "Choose only among the likeliest tokens that together have this share of the probability."],
  ["min_p", "Min-p", 0, 0.5, 0.01, 0, "Leave out tokens that are less than this many times as likely as the likeliest one."],
  ["repetition_penalty", "Repetition penalty", 1, 2, 0.05, 1, "Above 1, tokens that are already in the text become less likely."],
];

let columns = [];
let about = null;
let attention = null;

function complain(error) {
  if (error?.name === "AbortError") return;
  find("key-form").hidden = error?.status !== 401;
  find("problem").hidden = error?.status === 401;
  find("problem").textContent = error?.message || String(error);
}

function settings() {
  const chosen = { max_tokens: Number(find("most").value), seed: Number(find("seed").value) };
  for (const [name] of SLIDERS) chosen[name] = Number(find(name).value);
  return { ...chosen, alternatives: about.limits.alternatives < 12 ? about.limits.alternatives : 12 };
}

function makeSliders() {
  for (const [name, title, least, most, step, value, help] of SLIDERS) {
    const row = document.createElement("div"), top = document.createElement("div");
    const label = document.createElement("label"), output = document.createElement("output");
    const input = document.createElement("input"), text = document.createElement("p");
    row.className = "slider";
    Object.assign(label, { htmlFor: name, textContent: title });
    Object.assign(input, { id: name, type: "range", min: least, max: most, step, value });
    input.setAttribute("aria-describedby", `${name}-help`);
    Object.assign(text, { id: `${name}-help`, className: "help", textContent: help });
    const say = () => (output.textContent = name === "top_k" && input.value === "0" ? "all" : input.value);
    input.addEventListener("input", say);
    say();
    top.append(label, output);
    row.append(top, input, text);
    find("sliders").append(row);
  }
}

// What the reader sees for a model: the first one is the newest checkpoint of its run.
function label(name) {
  return name === about.models[0] && about.checkpoint ? `${name}@${about.checkpoint}` : name;
}

function makeColumns() {
  const names = [find("model").value, find("other").value].filter(Boolean);
  columns = names.map((name) => new Column(name, label(name), selected));
  find("text").replaceChildren(...columns.map((column) => column.element));
}

// Runs work on columns, with the buttons as they have to be.
async function during(work) {
  find("problem").hidden = true;
  find("write").disabled = find("more").disabled = true;
  find("stop").disabled = false;
  find("said").textContent = "Writing.";
  attention.hide();
  const results = await Promise.allSettled(work());
  for (const result of results) if (result.status === "rejected") complain(result.reason);
  find("write").disabled = false;
  find("stop").disabled = true;
  find("more").disabled = !columns.some((column) => column.all.length);
  find("said").textContent = "Done.";
  if (colouring() === "attention") attention.show(columns.find((column) => column.selected >= 0) || columns[0]);
}

const busy = () => columns.some((column) => column.writing);
const colouring = () => document.querySelector("[name=colour]:checked").value;

function write() {
  if (busy() || !about) return;
  makeColumns();
  clearToken();
  if (matchMedia("(max-width: 52rem)").matches) find("text").scrollIntoView();  // else it is beside the settings
  const body = { prompt: find("prompt").value, chat: about.chat && find("chat").checked, ...settings() };
  during(() => columns.map((column) => column.begin(body)));
}

function clearToken() {
  const help = find("token").querySelector(".help");
  find("token").replaceChildren(find("token").querySelector("h2"), help);
  help.hidden = false;
}

// Shows a token of a column and its alternatives.
function selected(column, index) {
  for (const other of columns) {
    if (other !== column) {
      other.all[other.selected]?.node.classList.remove("selected");
      other.selected = -1;
      other.attend(0, colouring() === "attention" ? [] : null);
    }
  }
  const token = column.all[index], panel = find("token");
  clearToken();
  const line = document.createElement("p");
  const number = document.createElement("span");
  number.className = "help";
  number.textContent = ` token ${index + 1}, id ${token.id}`;
  const name = document.createElement("strong");
  name.textContent = quoted(token.text);
  const what = token.given ? ", part of the prompt" : `, ${percent(token.logprob)}${token.chosen ? ", chosen by you" : ""}`;
  line.append(name, what, number);
  panel.querySelector(".help").hidden = true;
  panel.append(line);
  if (token.best?.length) {
    const list = document.createElement("ul");
    list.className = "alternatives";
    const listed = token.best.some((other) => other.id === token.id);
    for (const other of listed ? token.best : [...token.best, token]) {
      const item = document.createElement("li"), button = document.createElement("button");
      const code = document.createElement("code"), share = document.createElement("span"), meter = document.createElement("meter");
      code.textContent = shown(other.text).replace(/\n/g, "↵").replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
      share.textContent = percent(other.logprob);
      meter.value = Math.exp(other.logprob);
      button.type = "button";
      if (other.id === token.id) button.className = "now";
      button.setAttribute("aria-label", `${quoted(other.text)}, ${percent(other.logprob)}: continue from this one`);
      button.append(code, share, meter);
      button.addEventListener("click", () => {
        if (busy()) return;
        const best = token.best;
        during(() => [column.goOn(index, { ...other, best }, settings())]).then(() => column.text.focus());
      });
      item.append(button);
      list.append(item);
    }
    const help = document.createElement("p");
    help.className = "help";
    help.textContent = "What the model thought of here, before your settings. Choose one, and the text goes on from it.";
    panel.append(help, list);
  }
  if (colouring() === "attention") attention.show(column);
}

function recolour() {
  const on = colouring() === "attention";
  find("attention").hidden = !on;
  find("legend").hidden = on;
  for (const column of columns) column.attend(0, on ? [] : null);
  if (on) attention.show(columns.find((column) => column.selected >= 0) || columns[0]);
}

async function start() {
  about = await ask("api/models");
  find("key-form").hidden = find("problem").hidden = true;
  const [first, ...others] = about.models;
  const count = about.parameters >= 1e6 ? `${(about.parameters / 1e6).toFixed(1)} million` : about.parameters.toLocaleString("en");
  find("about").textContent = `${first}${about.checkpoint ? ` at ${about.checkpoint}` : ""}: ${count} parameters, ${about.layers || "?"} layers, ` +
    `${about.vocabulary.toLocaleString("en")} tokens, a context of ${about.context.toLocaleString("en")}`;
  const options = () => about.models.map((name) => new Option(label(name), name));
  find("model").replaceChildren(...options());
  find("other").replaceChildren(new Option("nothing", ""), ...options());
  find("model-line").hidden = !others.length;
  find("chat-line").hidden = !about.chat;
  if (about.chat) {
    find("prompt").value = "What is the capital of France?";
    for (const [name, value] of [["temperature", 0.5], ["top_p", 0.9]]) {  // answers are to be right, not varied
      find(name).value = value;
      find(name).dispatchEvent(new Event("input"));
    }
  }
  find("most").max = about.limits.new_tokens;
  find("attention-choice").hidden = !about.layers;
  attention.offer(about.layers, about.heads);
  makeColumns();
}

makeSliders();
if (matchMedia("(max-width: 52rem)").matches) find("settings").open = false;
attention = new Attention(
  { panel: find("attention"), layer: find("layer"), head: find("head"), looks: find("looks"), map: find("map") }, complain);
find("address").textContent = `${location.origin}/v1`;
find("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});
find("stop").addEventListener("click", () => columns.forEach((column) => column.stop()));
find("more").addEventListener("click", () => {
  if (!busy()) during(() => columns.map((column) => column.goOn(column.all.length, null, settings())));
});
find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(find("key").value);
  start().catch(complain);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") columns.forEach((column) => column.stop());
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    find("controls").requestSubmit();
  }
});
document.querySelectorAll("[name=colour]").forEach((input) => input.addEventListener("change", recolour));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => attention.known && attention.draw());
start().catch(complain);
