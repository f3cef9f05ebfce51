// What pages do better with JavaScript: copy buttons, and ages that grow. They work without it.
"use strict";

(() => {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function age(seconds) {
    const span = Math.abs(seconds);
    if (span < 1) return "now";
    const [length, unit] = units.find(([one]) => span >= one);
    const said = `${Math.round(span / length)} ${unit}`;
    return seconds > 0 ? `${said} ago` : `in ${said}`;
  }

  function growOld() {
    for (const time of document.querySelectorAll("time[data-age]")) {
      const at = Date.parse(time.dateTime);
      if (Number.isNaN(at)) continue;
      const said = age((Date.now() - at) / 1000);
      if (time.textContent !== said) time.textContent = said;
    }
  }

  function showCopyButtons(root) {
    // Browsers copy only on pages of HTTPS or of this machine.
    if (!navigator.clipboard) return;
    for (const button of root.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
  }

  async function copy(button) {
    const label = button.querySelector("span");
    const before = label.textContent;
    try {
      await navigator.clipboard.writeText(button.parentElement.querySelector("pre, code").textContent);
      label.textContent = "Copied";
      button.classList.add("done");
    } catch (error) {
      label.textContent = "Not allowed here";
    }
    setTimeout(() => { label.textContent = before; button.classList.remove("done"); }, 2000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (button) copy(button);
    const all = event.target instanceof Element ? event.target.closest("input[data-all]") : null;
    if (all) for (const one of document.querySelectorAll(`input[name="${CSS.escape(all.dataset.all)}"]`)) one.checked = all.checked;
  });
  document.addEventListener("keydown", (event) => {
    // `/` goes to the page's search, as on many sites; not while somebody types.
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof Element && event.target.closest("input, textarea, select")) return;
    const field = document.querySelector("main form[role=search] input:not([type=hidden])");
    if (field) { event.preventDefault(); field.focus(); }
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // A page that renews itself does not take away what somebody has opened, marked, or stands on with the keyboard.
    const target = event.detail.target;
    if (!target.matches("[data-keep-open]")) return;
    const marked = getSelection();
    const isMarked = marked && !marked.isCollapsed && target.contains(marked.anchorNode);
    if (isMarked || target.contains(document.activeElement) || target.querySelector("details[open]")) event.detail.shouldSwap = false;
  });
  document.addEventListener("htmx:responseError", (event) => {
    // A filter that cannot be: htmx leaves the page as it is, so the page that says why is loaded whole.
    const { elt, pathInfo } = event.detail;
    if (elt.matches("form[hx-get]")) location.assign(pathInfo.finalRequestPath);
  });
  document.addEventListener("DOMContentLoaded", () => { showCopyButtons(document); growOld(); });
  document.addEventListener("htmx:load", (event) => { showCopyButtons(event.target); growOld(); });
  setInterval(growOld, 10000);
})();
