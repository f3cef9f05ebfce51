// The live tail: new events come in on top of the table, and what becomes of them changes their rows.
// Whatever is told ends up as text or in a link's query, never as markup.
"use strict";

(() => {
  const MOST_ROWS = 500;
  const SAID_EVERY_MS = 5000;
  const AGAIN_MS = 5000;
  const HALVES = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
  const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  let running = null;

  const escaped = (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const visible = (text) => text.replace(CONTROLS, escaped).replace(HALVES, escaped);
  const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
  const plural = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

  // Rows: the page's own template is filled, so that they are what the page shows after it is loaded again.
  class Rows {
    constructor(table) {
      this.body = table.querySelector("tbody");
      this.pieces = document.getElementById("tail-pieces").content;
      this.states = new WeakMap();
      this.byId = new Map([...this.body.querySelectorAll("tr[data-event]")].map((row) => [row.dataset.event, row]));
    }

    newest() {
      const [first] = [...this.byId.keys()].sort().slice(-1);
      return first || "";
    }

    add(event) {
      if (this.byId.has(event.id)) return false;
      const row = this.pieces.querySelector("tr").cloneNode(true);
      row.dataset.event = event.id;
      row.classList.add("fresh");
      this.fill(row, event);
      for (const empty of this.body.querySelectorAll("tr:not([data-event])")) empty.remove();
      // Newest first, as the page has them: ids sort by time. Nearly always that is the top.
      let below = this.body.firstElementChild;
      while (below && below.dataset.event > event.id) below = below.nextElementSibling;
      this.body.insertBefore(row, below);
      this.byId.set(event.id, row);
      return true;
    }

    fill(row, event) {
      const cell = (name) => row.querySelector(`[data-cell="${name}"]`);
      const outside = (name, text, most) => { cell(name).querySelector("bdi").textContent = cut(visible(text), most); };
      const time = cell("at").querySelector("time");
      time.dateTime = event.received_at;
      time.title = `${event.received_at.slice(0, 19).replace("T", " ")} UTC`;
      time.textContent = "now";
      outside("event", event.type, 80);
      cell("event").href = `/events/${event.id}`;
      cell("id").textContent = event.id;
      outside("source", event.source, 60);
      // Our own events have a source that nobody configured, and so no page of its own.
      const source = encodeURIComponent(event.source);
      cell("source").querySelector("a").href = source === "hookline" ? "/events?source=hookline" : `/sources/${source}`;
      if (event.tenant !== null) cell("tenant").replaceChildren(this.bdi(event.tenant, 60));
      this.again(row, event.duplicates);
      cell("rules").replaceChildren(...this.rules(event));
      this.counts(row, event.deliveries);
    }

    bdi(text, most) {
      const made = document.createElement("bdi");
      made.textContent = cut(visible(text), most);
      return made;
    }

    piece(name) {
      return this.pieces.querySelector(`[data-piece="${name}"]`).firstElementChild.cloneNode(true);
    }

    rules(event) {
      if (event.unrouted) return [this.piece("unrouted")];
      if (!event.matched.length) return [this.piece("unmatched")];
      const links = event.matched.slice(0, 5).flatMap((name) => {
        const made = this.made("span", "rule");
        const inner = name ? document.createElement("a") : this.made("span", "none", "fallback");
        // Half of a pair has no place in a URL.
        if (name) inner.href = `/rule?name=${encodeURIComponent(name.replace(HALVES, "?"))}`;
        if (name) inner.append(this.bdi(name, 80));
        made.append(inner);
        return [made, " "];
      });
      const more = event.matched.length - 5;
      return more > 0 ? [...links, this.made("span", "none", `and ${more} more`)] : links;
    }

    made(tag, style, text = "") {
      const made = document.createElement(tag);
      made.className = style;
      made.textContent = text;
      return made;
    }

    counts(row, counts) {
      const badges = Object.entries(counts).filter(([, count]) => count).flatMap(([state, count]) => {
        const held = document.createElement("span");
        held.dataset.state = state;
        held.dataset.count = count;
        const badge = this.piece(state);
        badge.lastChild.textContent = `${count} ${state}`;
        held.append(badge);
        return [held, " "];
      });
      row.querySelector('[data-cell="deliveries"]').replaceChildren(...(badges.length ? badges : [this.piece("none")]));
    }

    again(row, duplicates) {
      const cell = row.querySelector('[data-cell="again"]');
      cell.dataset.count = duplicates;
      cell.textContent = duplicates ? `came ${duplicates + 1} times` : "";
    }

    // Somebody may be told twice what the page showed already: a delivery is counted only as it goes from state to state.
    attempt(told) {
      const row = this.byId.get(told.event);
      if (!row) return;
      const counts = Object.fromEntries(
        [...row.querySelectorAll("[data-state]")].map((one) => [one.dataset.state, Number(one.dataset.count)]));
      if (!this.states.has(row)) this.states.set(row, new Map());
      const known = this.states.get(row);
      const open = ["running", "pending"].find((state) => counts[state]);
      const before = known.get(told.delivery) || (told.replay ? null : open);
      if (before === undefined || before === told.state) return;
      if (before) counts[before] -= 1;
      counts[told.state] = (counts[told.state] || 0) + 1;
      known.set(told.delivery, told.state);
      this.counts(row, counts);
    }

    change(told) {
      const row = told.kind === "event" ? null : this.byId.get(told.event);
      if (told.kind === "attempt") this.attempt(told);
      else if (row && told.kind === "duplicate") this.again(row, Number(row.querySelector('[data-cell="again"]').dataset.count) + 1);
      else if (row && told.what === "routed" && told.matched) {
        row.querySelector('[data-cell="rules"]').replaceChildren(...this.rules({ unrouted: false, matched: told.matched }));
        if (told.count) this.counts(row, { pending: told.count });
      }
    }

    bound() {
      for (let last = this.body.lastElementChild; this.body.rows.length > MOST_ROWS; last = this.body.lastElementChild) {
        this.byId.delete(last.dataset.event);
        last.remove();
      }
    }
  }

  class Tail {
    constructor(element) {
      this.element = element;
      this.rows = new Rows(document.getElementById(element.dataset.table));
      this.part = (name) => element.querySelector(`[data-tail="${name}"]`);
      this.waiting = [];
      this.isPaused = false;
      this.missed = 0;
      this.fresh = 0;
      this.frame = 0;
      this.last = element.dataset.after || this.rows.newest();
      // When what is told was last known: a reader who comes back is told again what came since its last event.
      this.heard = Date.parse(element.dataset.since);
      this.known = this.heard;
      this.part("pause").addEventListener("click", () => this.turn());
      this.saying = setInterval(() => this.say(), SAID_EVERY_MS);
      element.hidden = false;
      this.open();
    }

    open() {
      const from = this.last ? `after=${this.last}` : `since=${encodeURIComponent(this.element.dataset.since)}`;
      this.stream = new EventSource(`${this.element.dataset.stream}&${from}`);
      this.stream.addEventListener("open", () => { this.known = this.heard; this.show(); });
      this.stream.addEventListener("error", () => {
        this.show();
        // The browser comes back by itself after a broken connection, not after a refusal.
        if (this.stream.readyState === EventSource.CLOSED) this.later = setTimeout(() => this.open(), AGAIN_MS);
      });
      for (const kind of ["event", "duplicate", "attempt", "delivery", "missed"]) {
        this.stream.addEventListener(kind, (message) => this.hear(JSON.parse(message.data)));
      }
      this.show();
    }

    close() {
      this.stream.close();
      clearTimeout(this.later);
      clearInterval(this.saying);
      cancelAnimationFrame(this.frame);
    }

    hear(told) {
      const at = Date.parse(told.at);
      this.heard = Math.max(this.heard, at);
      if (told.kind === "event") this.last = told.id;
      if (told.kind === "duplicate" && at <= this.known) return;
      if (told.kind === "missed") this.miss(told.count);
      else this.waiting.push(told);
      // While the page is not looked at nothing is drawn, and what waits is bounded.
      if (this.waiting.length > 4 * MOST_ROWS) this.miss(this.waiting.splice(0, MOST_ROWS).length);
      if (this.isPaused) this.show();
      else if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
    }

    miss(count) {
      this.missed = count === null || this.missed === null ? null : this.missed + count;
      this.show();
    }

    draw() {
      this.frame = 0;
      for (const told of this.waiting.splice(0)) {
        if (told.kind === "event") this.fresh += this.rows.add(told) ? 1 : 0;
        else this.rows.change(told);
      }
      this.rows.bound();
      this.show();
    }

    turn() {
      this.isPaused = !this.isPaused;
      this.part("pause").textContent = this.isPaused ? "Go on" : "Pause";
      this.part("said").setAttribute("aria-live", this.isPaused ? "off" : "polite");
      if (this.isPaused) cancelAnimationFrame(this.frame);
      this.frame = 0;
      if (this.isPaused) this.show();
      else this.draw();
    }

    show() {
      const isOpen = this.stream.readyState === EventSource.OPEN;
      const state = !isOpen ? "reconnecting" : this.isPaused ? "paused" : "live";
      const badge = this.part("state");
      if (badge.textContent !== state) badge.replaceChildren(this.rows.piece(state));
      const events = this.waiting.filter((told) => told.kind === "event").length;
      this.part("waiting").textContent = this.isPaused ? `${plural(events, "new event")} waiting` : "";
      this.part("missed").hidden = this.missed === 0;
      this.part("missed").textContent = this.missed === null ? "missed some: load the page again" : `missed ${this.missed}`;
    }

    say() {
      if (!this.fresh || this.isPaused) return;
      this.part("said").textContent = plural(this.fresh, "new event");
      this.fresh = 0;
    }
  }

  function begin() {
    const element = document.getElementById("tail");
    if (running && running.element !== element) { running.close(); running = null; }
    if (element && !running && document.getElementById(element.dataset.table)) running = new Tail(element);
  }

  document.addEventListener("DOMContentLoaded", begin);
  // A filter that was changed brought another table, and with it another tail.
  document.addEventListener("htmx:load", begin);
  window.addEventListener("pagehide", () => { if (running) { running.close(); running = null; } });
  window.addEventListener("pageshow", (event) => { if (event.persisted) begin(); });
})();
